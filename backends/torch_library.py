"""How a class or function of a library becomes a network here: tried, not guessed.

Run as `python -m backends.torch_library MODULE:NAME KEY=VALUE...` where PyTorch is; prints one JSON
object (`Found`), or `{"error": sentence}`.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from typing import Any

SIDE = 64
# What libraries call the channels of an image, the classes, and the size; and what fetches weights.
CHANNELS = ("in_channels", "input_channels", "in_chans", "num_input_channels", "n_channels")
CLASSES = ("out_channels", "num_classes", "classes", "n_classes", "out_chans")
SIZES = ("img_size", "image_size", "input_size")
FETCHING = ("weights", "weights_backbone", "encoder_weights", "pretrained", "progress")


class Refused(Exception):
    """What was asked for cannot become a network; one sentence."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The lines to write: arguments as source, imports, and what a module around it must do."""

    module: str
    name: str
    arguments: dict[str, str]
    imports: dict[str, list[str]]
    colours: bool  # takes three channels: the image is repeated
    part: str  # how the logits are taken out of what it returns, as source
    multiple: int
    unused: list[str]
    package: str
    url: str


def look(target: str, settings: dict[str, str]) -> Found:
    """Import, build and run it. Raises `Refused`."""
    import torch

    builder = _imported(target)
    known = inspect.signature(builder).parameters
    open_ended = any(one.kind is one.VAR_KEYWORD for one in known.values())
    for key in settings:
        if key not in known and not open_ended:
            raise Refused(f"{target} takes no {key!r}; it takes {', '.join(known)}.")
    own = {key: _value(text) for key, text in settings.items()}
    for key in FETCHING:
        if key in known and key not in own:
            own[key] = (False, "False") if key in ("pretrained", "progress") else (None, "None")
    channels = next((key for key in CHANNELS if key in known), None)
    classes = next((key for key in CLASSES if key in known), None)
    size = next((key for key in SIZES if key in known and key not in own), None)
    if classes is None or classes in own:
        raise Refused(f"{target}: leave the number of classes to the harness ({classes}).")
    colours = channels is None or own.get(channels, (1, ""))[0] == 3

    def build(height: int, width: int) -> Any:
        values = {key: value for key, (value, _) in own.items()}
        values |= {classes: 2} | ({channels: 3 if colours else 1} if channels else {})
        values |= {size: (height, width)} if size else {}
        try:
            return builder(**values)
        except TypeError as error:
            raise Refused(f"{target}: {' '.join(str(error).split())}; use --set.") from None

    image = torch.randn(2, 3 if colours else 1, SIDE, SIDE)
    net = build(SIDE, SIDE)
    output = net(image)
    part = _part(output)
    logits = _taken(output, part)
    if tuple(logits.shape) != (2, 2, SIDE, SIDE):
        raise Refused(f"{target} returns {tuple(logits.shape)} for {tuple(image.shape)} images.")
    logits.square().sum().backward()
    arguments = {key: text for key, (_, text) in own.items()}
    if channels:
        arguments[channels] = "3" if colours else "1"
    arguments[classes] = "classes"
    if size:
        arguments[size] = "(height, width)"
    imports: dict[str, list[str]] = {}
    for module, name in (_reference(text) for text in (target, *settings.values())):
        if module:
            imports.setdefault(module, []).append(name)
    package, url = _source(target)
    return Found(
        module=target.partition(":")[0],
        name=target.partition(":")[2],
        arguments=arguments,
        imports=imports,
        colours=colours,
        part=part,
        multiple=_multiple(build, part, 3 if colours else 1, sized=size is not None),
        unused=_idle(net),
        package=package,
        url=url,
    )


def _reference(text: str) -> tuple[str, str]:
    """(module, name) of `package.module:Name`; empty for anything else."""
    module, colon, name = text.partition(":")
    valid = colon and name.isidentifier() and all(part.isidentifier() for part in module.split("."))
    return (module, name) if valid else ("", "")


def _imported(target: str) -> Any:
    module, name = _reference(target)
    if not module:
        raise Refused(f"{target!r} is not MODULE:NAME, such as monai.networks.nets:BasicUNet.")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise Refused(f"{target} cannot be imported ({error}): install its library.") from None


def _value(text: str) -> tuple[Any, str]:
    """A value and its source: a Python literal, `MODULE:NAME`, or a word."""
    module, name = _reference(text)
    if module:
        return _imported(text), name
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    return value, repr(value)


def _part(output: Any) -> str:
    if isinstance(output, dict):
        return json.dumps(["out" if "out" in output else next(iter(output))])
    return "[0]" if isinstance(output, (list, tuple)) else ""


def _taken(output: Any, part: str) -> Any:
    return output[ast.literal_eval(part)[0]] if part else output


def _multiple(build: Any, part: str, channels: int, *, sized: bool) -> int:
    """The smallest power of two that both sides must be multiples of. Raises `Refused`."""
    import torch

    said = ""
    for multiple in (1, 2, 4, 8, 16, 32, SIDE):
        height, width = SIDE + multiple, 2 * SIDE + multiple
        try:
            net = build(height, width) if sized else build(SIDE, SIDE)
            with torch.no_grad():
                found = _taken(net.eval()(torch.zeros(1, channels, height, width)), part)
            if tuple(found.shape[2:]) == (height, width):
                return multiple
        except Exception as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    raise Refused(f"it takes no {2 * SIDE}×{3 * SIDE} images, so it has one size only ({said}).")


def _idle(net: Any) -> list[str]:
    """Patterns of the layers whose weights took no part in the logits."""
    idle = [name for name, weight in net.named_parameters() if weight.grad is None]
    return list(dict.fromkeys(f"{name.rpartition('.')[0]}.*" for name in idle))


def _source(target: str) -> tuple[str, str]:
    top = target.partition(".")[0].partition(":")[0]
    for name in metadata.packages_distributions().get(top, []):
        about = metadata.metadata(name)
        links = [link.partition(", ")[2] for link in about.get_all("Project-URL") or []]
        found = [*(about.get_all("Home-page") or []), *links]
        url = next((link for link in found if link and link.startswith("https://")), "")
        return f"{name} {metadata.version(name)}", url or f"https://pypi.org/project/{name}/"
    return top, f"https://pypi.org/project/{top}/"


def main() -> int:
    """Print what was found as JSON."""
    target, *words = sys.argv[1:]
    try:
        found = asdict(look(target, dict(word.split("=", 1) for word in words)))
    except Refused as error:
        found = {"error": str(error)}
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0]
        found = {"error": f"{target}: {type(error).__name__}: {line}"}
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
