"""The device that a model computes on."""

import torch


def place(module: torch.nn.Module, device: str) -> None:
    """Move a module to a device.

    Args:
        module: moved in place.
        device: as torch names it: cpu, cuda, cuda:1, ...; "auto": cuda where there is one, else
            cpu.

    Raises:
        ValueError: torch cannot use it here.
    """
    try:
        module.to(resolved(device))
    except (RuntimeError, AssertionError) as e:
        raise ValueError(f"device: got '{device}', which torch cannot use here ({e})") from e


def resolved(device: str) -> str:
    """The device's name, of "auto" too."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"
