"""BIDS: raw `sub-*/[ses-*/]anat/*_T2w.nii[.gz]`, masks in derivatives of any depth or beside.

A mask belongs to the image whose entities it has, in any order, besides those that derivatives
add (space, label, desc, res, den). It is named `…_desc-brain_mask`, `…_label-brain_mask`, `…_dseg`,
or as found in the wild `…_T2w_desc-brain_mask`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.data.cases import Case
from harness.data.readers import ages
from harness.data.readers.files import nifti_files, not_taken, other_images, posix, stem

SUFFIX = "t2w"
MASK_SUFFIXES = ("mask", "dseg")
ADDED = ("space", "label", "desc", "res", "den", "seg")
# Entities that count: run-1 and run-01 are one.
INDICES = ("run", "echo", "chunk", "split")
# Spaces in which a mask lies on its stack's own grid.
OWN_SPACES = ("", "orig", "native", "individual", "scanner", "t2w")
DERIVED = ("derivatives", "sourcedata", "code")


@dataclass(frozen=True)
class _Name:
    """A file's name taken apart: `own` are the entities that tell stacks apart."""

    path: Path
    own: frozenset[tuple[str, str]]
    added: dict[str, str]
    suffix: str

    @property
    def is_mask(self) -> bool:
        return self.suffix in MASK_SUFFIXES

    def fault_of_mask(self) -> str:
        """Why a mask is not one of the brain, or ""."""
        label, desc = self.added.get("label", ""), self.added.get("desc", "")
        if self.suffix == "dseg" or "brain" in (label + desc).lower() or not (label or desc):
            return ""
        return f"a mask of {label or desc}, not called brain"


def find_cases(source: Path) -> list[Case]:
    """All T2-weighted stacks, in the order of their names, and what was not taken."""
    names = [_parse(path) for path in nifti_files(source)]
    names = [name for name in names if name is not None]
    masks = [name for name in names if name.is_mask]
    beside = _masks_beside(source)
    known = ages.of_tables(source)
    used: set[Path] = set()
    cases: list[Case] = []
    listed: list[Case] = []
    for name in names:
        if name.is_mask:
            continue
        reason = _left_out(name, source)
        if reason:
            listed.append(not_taken(name.path, source, reason))
            continue
        found = _masks_of(name, masks) or _masks_of(name, beside)
        used.update(mask.path for mask in found)
        cases.append(_case(name, found, source, known))
    for mask in masks:
        if mask.path not in used:
            reason = mask.fault_of_mask() or _why_unused(mask, [c.stack for c in cases])
            listed.append(not_taken(mask.path, source, reason))
    taken = {name.path for name in names}
    strange = [path for path in nifti_files(source) if path not in taken]
    listed += [not_taken(path, source, "its name has no sub-<label>") for path in strange]
    return cases + listed + other_images(source)


def _case(
    name: _Name, found: list[_Name], source: Path, known: dict[tuple[str, str], float]
) -> Case:
    # Derivatives and raw data of one mask both lie in its entities: drop the suffix alone.
    full = stem(name.path)
    entities = full[: full.lower().rfind("_t2w")]
    own = dict(name.own)
    session = f"ses-{own['ses']}" if "ses" in own else ""
    fault = ""
    if len(found) > 1:
        shown = " and ".join(_shown(mask.path, source) for mask in found)
        fault = f"{name.path}: has several brain masks ({shown}); keep one of them."
    subject = f"sub-{own['sub']}"
    age = ages.of_sidecar(name.path, full)
    return Case(
        stack=entities,
        subject=subject,
        session=session,
        image=name.path,
        mask=found[0].path if found else None,
        source=posix(name.path, source),
        gestational_age_weeks=ages.find(known, subject, session) if age is None else age,
        fault=fault,
    )


def _parse(path: Path) -> _Name | None:
    own: dict[str, str] = {}
    added: dict[str, str] = {}
    *parts, suffix = stem(path).split("_")
    for part in parts:
        key, dash, value = part.partition("-")
        # What is not an entity, as a suffix in the middle, tells nothing.
        if dash and key in ADDED:
            added[key] = value
        elif dash:
            own[key] = value.lstrip("0") or "0" if key in INDICES and value.isdigit() else value
    if "sub" not in own:
        return None
    for folder in path.parts[:-1]:
        if folder.startswith("ses-") and "ses" not in own:
            own["ses"] = folder.removeprefix("ses-")
    return _Name(path, frozenset(own.items()), added, suffix.lower())


def _left_out(name: _Name, source: Path) -> str:
    """Why an image is not a stack to be read, or ""."""
    folders = name.path.relative_to(source).parts[:-1]
    derived = [folder for folder in folders if folder in DERIVED]
    part = dict(name.own).get("part", "mag")
    if derived:
        return f"lies in {derived[0]}, so it is not a raw stack"
    if name.suffix != SUFFIX:
        return f"is a {name.suffix}; only T2w stacks are read"
    if part != "mag":
        return f"part-{part} is not a magnitude image"
    return ""


def _masks_of(image: _Name, masks: list[_Name]) -> list[_Name]:
    """The masks of an image: on its own grid before others, of the brain before label maps."""
    own = frozenset(item for item in image.own if item != ("part", "mag"))
    found = [
        mask for mask in masks if mask.own - {("part", "mag")} == own and not mask.fault_of_mask()
    ]
    for better in (
        lambda mask: mask.added.get("space", "").lower() in OWN_SPACES,
        lambda mask: mask.suffix == "mask",
        lambda mask: "brain" in "".join(mask.added.values()).lower(),
        lambda mask: "res" not in mask.added and "den" not in mask.added,
    ):
        found = [mask for mask in found if better(mask)] or found
    return found


def _masks_beside(source: Path) -> list[_Name]:
    """Masks of `derivatives` beside the raw data, as in `study/rawdata`, `study/derivatives`."""
    folder = source.resolve().parent / "derivatives"
    if not folder.is_dir() or source.resolve() in (folder, *folder.parents):
        return []
    found = [_parse(path) for path in nifti_files(folder)]
    return [name for name in found if name is not None and name.is_mask]


def _why_unused(mask: _Name, stacks: list[str]) -> str:
    named = [_parse(Path(f"{stack}_T2w.nii")) for stack in stacks]
    if any(name is not None and name.own == mask.own for name in named):
        return "another mask of the same stack is taken"
    return "no T2w image has its entities"


def _shown(path: Path, source: Path) -> str:
    try:
        return posix(path, source)
    except ValueError:
        return f"../{path.relative_to(source.resolve().parent).as_posix()}"
