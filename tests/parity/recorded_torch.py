"""Networks of torch that are recorded; no JAX is imported here."""

import torch
import torch.nn.functional as F


class Net(torch.nn.Module):
    """A small classifier with a norm, dropout and a flatten."""

    def __init__(self, rate: float = 0.5, gelu: str = "none"):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 3, (3, 2))
        self.norm = torch.nn.BatchNorm2d(3)
        self.fc1 = torch.nn.Linear(3 * 3 * 4, 6)
        self.drop = torch.nn.Dropout(rate)
        self.ln = torch.nn.LayerNorm(6)
        self.fc2 = torch.nn.Linear(6, 2)
        self.gelu = gelu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.conv(x))).flatten(1)
        return self.fc2(self.ln(self.drop(F.gelu(self.fc1(x), approximate=self.gelu))))


class Several(torch.nn.Module):
    """Two inputs, of which one is of whole numbers; results in a dict and a tuple, and None."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(5, 4)
        self.fc = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, object]:
        hidden = torch.tanh(self.fc(x)) + self.embed(labels)
        return {"mean": hidden, "rest": (hidden.sum(1), None), "classes": hidden.argmax(1)}


class Noisy(torch.nn.Module):
    """A dropout that evaluation does not switch off."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = torch.nn.Linear(4, 8)
        self.fc2 = torch.nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.dropout(self.fc1(x), 0.5))


def make() -> torch.nn.Module:
    torch.manual_seed(0)
    return Net()


def make_tanh() -> torch.nn.Module:
    torch.manual_seed(0)
    return Net(gelu="tanh")


def make_several() -> torch.nn.Module:
    torch.manual_seed(0)
    return Several()


def make_noisy() -> torch.nn.Module:
    torch.manual_seed(0)
    return Noisy()


def loss(result: torch.Tensor) -> torch.Tensor:
    return (result**2).mean()
