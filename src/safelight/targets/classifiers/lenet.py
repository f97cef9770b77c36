"""The LeNet of the split-inference literature, with 8 and 16 channels."""

import torch
from torch import Tensor, nn


class LeNet(nn.Module):
    """45,278 parameters for 28x28 gray pictures (He, Zhang and Lee 2019; not LeNet-5's 6 and 16).

    Input [n, 1, 28, 28], normalized with mean 0.5 and standard deviation 0.5; output [n, classes]
    logits. No activation works in place: a cut sees what the layer put out.
    """

    image_shape = (1, 28, 28)
    mean = (0.5,)
    std = (0.5,)

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 5)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(8, 16, 5)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(256, 120)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(120, 84)
        self.relu4 = nn.ReLU()
        self.fc3 = nn.Linear(84, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.pool2(self.relu2(self.conv2(x)))
        x = self.relu3(self.fc1(x.flatten(1)))
        return torch.as_tensor(self.fc3(self.relu4(self.fc2(x))))
