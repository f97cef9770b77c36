"""The six-convolution CIFAR-10 network of the split-inference literature."""

import torch
from torch import Tensor, nn


class CifarCNN(nn.Module):
    """1,609,546 parameters for 32x32 color pictures (He, Zhang and Lee 2019).

    Input [n, 3, 32, 32], normalized per channel; output [n, classes] logits. Layer names follow
    the paper: ``relu22`` is the activation after the second convolution of the second stage.
    """

    image_shape = (3, 32, 32)
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv11, self.relu11 = nn.Conv2d(3, 64, 3, padding=1), nn.ReLU()
        self.conv12, self.relu12 = nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv21, self.relu21 = nn.Conv2d(64, 128, 3, padding=1), nn.ReLU()
        self.conv22, self.relu22 = nn.Conv2d(128, 128, 3, padding=1), nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.conv31, self.relu31 = nn.Conv2d(128, 128, 3, padding=1), nn.ReLU()
        self.conv32, self.relu32 = nn.Conv2d(128, 128, 3, padding=1), nn.ReLU()
        self.pool3 = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(2048, 512)
        self.sigmoid = nn.Sigmoid()
        self.fc2 = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.pool1(self.relu12(self.conv12(self.relu11(self.conv11(x)))))
        x = self.pool2(self.relu22(self.conv22(self.relu21(self.conv21(x)))))
        x = self.pool3(self.relu32(self.conv32(self.relu31(self.conv31(x)))))
        return torch.as_tensor(self.fc2(self.sigmoid(self.fc1(x.flatten(1)))))
