"""The import rules of the architecture, read off the source."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "inrcodec"
FILES = sorted(PACKAGE.rglob("*.py"))

CONFINED = {  # package: the only places that may import it
    "PIL": ("formats/", "bench/"),
    "tifffile": ("formats/",),
    "imagecodecs": ("formats/", "bench/"),
    "constriction": ("entropy.py",),
    "typer": ("cli/",),
    "rich": ("cli/", "bench/"),
    "safetensors": ("basemodels.py", "methods/", "training/"),
    "scipy": ("formats/", "bench/"),
    "av": ("formats/", "bench/"),
    "h5py": ("formats/", "bench/"),
    "nibabel": ("formats/", "bench/"),
    "matplotlib": ("bench/",),
    "plotly": ("bench/",),
    "h5netcdf": ("formats/",),
    "trimesh": ("formats/", "bench/"),
    "igl": ("formats/",),
    "skimage": ("formats/",),
    "soundfile": ("formats/", "bench/"),
    "inrcodec.training": ("training/", "cli/"),
    "inrcodec.bench": ("bench/", "cli/"),
}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports(path: Path, top_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    found = set()
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_confined_imports(path: Path) -> None:
    for package, places in CONFINED.items():
        used = {i for i in imports(path) if i == package or i.startswith(f"{package}.")}
        assert not used or name_of(path).startswith(places), f"{name_of(path)} imports {used}"


@pytest.mark.parametrize("name", ["errors.py", "container.py", "allocator.py"])
def test_standard_library_only(name: str) -> None:
    for module in imports(PACKAGE / name):
        root = module.partition(".")[0]
        assert root in sys.stdlib_module_names or module.startswith("inrcodec.errors"), module


def reachable(start: str) -> set[str]:
    """Modules of the package that importing one of them imports, directly or not."""
    known = {("inrcodec." + name_of(p)[:-3].replace("/", ".")).removesuffix(".__init__"): p for p in FILES}
    seen, open_ = set(), [start]
    while open_:
        module = open_.pop()
        if module in seen or module not in known:
            continue
        seen.add(module)
        open_ += imports(known[module], top_only=True)
    return seen


def test_fields_and_priors_know_nothing_of_encoding() -> None:
    for start in ("inrcodec.fields.field", "inrcodec.priors.context", "inrcodec.entropy", "inrcodec.container"):
        assert not reachable(start) & {"inrcodec.adaptation", "inrcodec.training", "inrcodec.bench"}, start


def test_no_public_name_is_a_module() -> None:
    import inrcodec

    modules = {p.stem for p in PACKAGE.iterdir()}
    assert not modules & set(inrcodec.__all__)
