"""How the modules of the package import each other: from the layers below, without circles, and nothing twice."""

import ast
import re
from collections import defaultdict
from graphlib import TopologicalSorter

from approxgrad.provenance.dependencies import PACKAGE, PACKAGE_ROOT, imported_names

LAYOUT = (PACKAGE_ROOT.parents[1] / "docs" / "contributing.md").read_text()
LAYERS = re.findall(r"^\| `(\w+)/` \|", LAYOUT.partition("| subpackage |")[2], re.MULTILINE)
SMALLEST_COPY = 150
"""Characters of a function's code above which it must not stand in two places."""


def modules(root):
    """The modules of a package by name, without the files that only say what a folder is for."""
    files = (path for path in root.rglob("*.py") if path.name != "__init__.py")
    return {".".join([root.name, *path.relative_to(root).with_suffix("").parts]): path for path in files}


def imported(module, path, known):
    """The modules of the package that a module imports, anywhere in its code and in whatever form."""
    found = set()
    for name in imported_names(path):
        dots = len(name) - len(name.lstrip("."))
        parts = [*(module.split(".")[:-dots] if dots else []), *name.lstrip(".").split(".")]
        # The last part may be a name that a module defines.
        found |= {".".join(parts[:end]) for end in (len(parts), len(parts) - 1)} & known.keys()
    return found


def graph(root):
    known = modules(root)
    return {module: imported(module, path, known) for module, path in known.items()}


def layer(module):
    """Place of a module: those beside the subpackages are below all of them."""
    parts = module.split(".")
    return LAYERS.index(parts[1]) if len(parts) > 2 else -1


GRAPH = graph(PACKAGE_ROOT)


def test_every_subpackage_is_in_the_list_of_the_layout():
    assert sorted(LAYERS) == sorted(path.parent.name for path in PACKAGE_ROOT.glob("*/__init__.py"))
    beside = LAYOUT.partition("Beside them stand ")[2].partition(", which")[0]
    assert [f"{PACKAGE}.{name}" for name in re.findall(r"`(\w+)\.py`", beside)] == sorted(
        module for module in GRAPH if layer(module) < 0
    )


def test_a_module_imports_only_from_its_layer_and_those_above_it_in_the_layout():
    upwards = [(module, name) for module in GRAPH for name in GRAPH[module] if layer(name) > layer(module)]
    assert upwards == []


def test_no_modules_import_each_other():
    TopologicalSorter(GRAPH).prepare()  # raises an error that names a circle


def test_imports_of_every_form_are_seen(tmp_path):
    root = tmp_path / "own"
    (root / "sub").mkdir(parents=True)
    for name, text in {
        "a": "import own.sub.c",
        "b": "def later():\n    from own import a\n",
        "sub/c": "from ..a import thing\nfrom . import d\nfrom .. import b as other",
        "sub/d": "from own.a import thing\nimport os",
    }.items():
        (root / f"{name}.py").write_text(text)
    assert graph(root) == {
        "own.a": {"own.sub.c"},
        "own.b": {"own.a"},
        "own.sub.c": {"own.a", "own.b", "own.sub.d"},
        "own.sub.d": {"own.a"},
    }


def functions(path):
    """Code of the longer functions of a file without their names and docstrings."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            code = "\n".join(map(ast.unparse, [node.args, *body]))
            if len(code) > SMALLEST_COPY:
                yield code, f"{path.relative_to(PACKAGE_ROOT)}: {node.name}"


def test_no_function_stands_in_two_places():
    places = defaultdict(list)
    for path in modules(PACKAGE_ROOT).values():
        for code, place in functions(path):
            places[code].append(place)
    assert [own for own in places.values() if len(own) > 1] == []
