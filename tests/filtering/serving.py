"""A filter at work, as tests see it: what they send and whom they ask."""

import http.client
import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from safelight.filtering.folder import FilterFolder
from safelight.filtering.pictures import BATCH


def packed(pictures: Tensor | np.ndarray) -> bytes:
    """Return bytes [n, c, h, w] as a batch."""
    array = pictures.permute(0, 2, 3, 1).numpy() if isinstance(pictures, Tensor) else pictures
    stream = io.BytesIO()
    np.savez(stream, images=np.ascontiguousarray(array))
    return stream.getvalue()


def png(picture: Tensor) -> bytes:
    """Return one picture, bytes [1, h, w], as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(picture[0].numpy()).save(stream, "PNG")
    return stream.getvalue()


def near(pictures: Tensor, noise: float, seed: int = 0) -> Tensor:
    """Return noisy copies, as bytes."""
    rng = torch.Generator().manual_seed(seed)
    drawn = pictures.float() / 255 + noise * torch.randn(pictures.shape, generator=rng)
    return (drawn.clamp(0, 1) * 255).round().byte()


@dataclass
class Served:
    """A service in a thread of this process, with a client's and a reviewer's token."""

    port: int
    client: str
    reviewer: str
    folder: FilterFolder

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Any = None
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            line.request(method, path, body, headers or {})
            answer = line.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            line.close()

    def submit(self, body: bytes, media: str = BATCH, token: str | None = None) -> tuple[int, Any]:
        """Send outputs and return the status and the answer, read if it is JSON."""
        headers = {"Authorization": f"Bearer {token or self.client}", "Content-Type": media}
        status, content, told = self.ask("POST", "/v1/outputs", body, headers)
        return status, json.loads(content) if "json" in told["Content-Type"] else content
