"""`fetalbench new` refuses names that no package can have."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.scaffold import new_network, title


@pytest.mark.parametrize(
    "name", ["", "Net", "2net", "my-net", "my.net", "../net", "class", "a" * 65, "net\n", "ünet"]
)
def test_names_that_cannot_be_imported_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        new_network(name, tmp_path / "package")
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize("name", ["unet", "rfbsnet", "template", "threshold"])
def test_names_that_are_taken_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        new_network(name, tmp_path / "package")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    files = new_network("tiny_net", tmp_path / "package")
    assert (tmp_path / "package/pyproject.toml") in files
    with pytest.raises(UsageError, match="exists already"):
        new_network("tiny_net", tmp_path / "package")


def test_no_word_of_the_template_is_left(tmp_path: Path) -> None:
    for path in new_network("tiny_net", tmp_path / "package"):
        assert "template" not in path.read_text(encoding="utf-8").lower()
    assert title("fast_net") == "FastNet"


LIBRARY = '''
from torch import nn

class Colours(nn.Module):
    """Three channels in, a dict out, a head that nothing uses; sides are multiples of 8."""

    def __init__(self, num_classes, width=4, norm=nn.Identity, weights="IMAGENET"):
        assert weights is None
        super().__init__()
        self.down = nn.Conv2d(3, width, 8, stride=8)
        self.norm = norm(width)
        self.up = nn.ConvTranspose2d(width, num_classes, 8, stride=8)
        self.auxiliary = nn.Conv2d(width, num_classes, 1)

    def forward(self, x):
        return {"out": self.up(self.norm(self.down(x)))}

class Fixed(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.line = nn.Linear(64, 64)
        self.head = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x):
        return self.head(self.line(x))
'''


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd_library.py").write_text(LIBRARY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.usefixtures("library")
def test_a_librarys_network_is_tried_and_written(tmp_path: Path) -> None:
    words = ["width=8", "norm=torch.nn:InstanceNorm2d"]
    files = new_network("odd_colours", tmp_path / "package", "odd_library:Colours", words)
    assert {path.name for path in files} == {
        "pyproject.toml",
        "__init__.py",
        "card.py",
        "torch_net.py",
    }
    text = (tmp_path / "package/fetalbench_odd_colours/torch_net.py").read_text()
    for line in (
        "from odd_library import Colours",
        "from torch.nn import InstanceNorm2d",
        "width=8",
        "norm=InstanceNorm2d",
        "weights=None",
        "num_classes=classes",
        'self.net(input.expand(-1, 3, -1, -1))["out"]',
        "any multiple of 8",
    ):
        assert line in text
    card = (tmp_path / "package/fetalbench_odd_colours/card.py").read_text()
    assert "unused=('auxiliary.*',)" in card
    compile(text, "torch_net.py", "exec")
    compile(card, "card.py", "exec")


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("source", "settings", "sentence"),
    [
        ("odd_library", (), "is not MODULE:NAME"),
        ("odd_library:Nothing", (), "cannot be imported"),
        ("no_such_library:Net", (), "cannot be imported .*: install its library"),
        ("odd_library:Colours", ("widht=8",), "takes no 'widht'; it takes num_classes, width"),
        ("odd_library:Colours", ("num_classes=3",), "leave the number of classes"),
        ("odd_library:Colours", ("width",), "expected KEY=VALUE"),
        ("odd_library:Fixed", (), "one size only"),
    ],
)
def test_what_cannot_become_a_network_is_refused_before_anything_is_written(
    source: str, settings: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=sentence):
        new_network("odd_one", tmp_path / "package", source, settings)
    assert not (tmp_path / "package").exists()
