import json
from dataclasses import dataclass
from typing import Annotated, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approxgrad.descriptions import Integer, option
from approxgrad.gradients.difference import Difference
from approxgrad.gradients.source import SOURCES, SourceKind, exact_source, source_of, sources
from small_studies import DEFAULT, difference, entry, faults, key, source, study

BASELINES = {"half": 0.5, "list": [1.0] * 12, "zero": "zero"}


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (1e-5, "forward-h0.00001"),
        (5e-5, "forward-h0.00005"),
        (0.1, "forward-h0.1"),
        (1.0, "forward-h1"),
        (20.0, "forward-h20"),
        (0.1 + 0.2, "forward-h0.30000000000000004"),
    ],
)
def test_names_write_the_step_in_full(step, name):
    assert source(step).name == name


@given(st.floats(min_value=1e-30, max_value=1e30))
def test_names_tell_the_step_exactly(step):
    scheme, _, text = source(step, scheme="central").name.partition("-h")
    assert scheme == "central"
    assert "e" not in text
    assert float(text) == step


def test_the_exact_gradient_has_no_setting():
    own = exact_source()
    assert (own.name, own.setting, own.is_exact, own.chosen) == ("exact", None, True, False)


@pytest.mark.parametrize(
    ("own", "name", "chosen"),
    [
        (exact_source("float64"), "exact-float64", False),
        (source(0.01), "forward-h0.01", False),
        (source(0.01, "float64"), "forward-h0.01-float64", False),
        (source("auto", scheme="central"), "central-auto", True),
        (source("auto", "float64", "central"), "central-auto-float64", True),
    ],
)
def test_names_tell_a_chosen_step_and_a_precision_other_than_float32(own, name, chosen):
    assert (own.name, own.chosen) == (name, chosen)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (exact_source(), exact_source().kind.label),
        (source(0.01), "forward differences, h = 0.01"),
        (source("auto", scheme="central"), "central differences, h chosen at run time"),
    ],
)
def test_readers_are_told_the_setting_in_words(own, words):
    assert own.words == words


def test_sources_come_back_from_the_parameters_of_a_job():
    kind = Difference("central", (0.5, "auto"), ("float32", "float64"))
    assert len(sources(kind)) == 4
    for own in [*sources(kind), exact_source(), exact_source("float64")]:
        assert source_of(json.loads(json.dumps(own.entry))) == own


def test_propagated_differences_are_sources_of_their_own():
    kind = Difference("forward", (0.01,), evaluation="propagated")
    (own,) = sources(kind)
    assert (own.name, own.family, kind.label) == (
        "forward_propagated-h0.01",
        "forward_propagated",
        "propagated forward differences",
    )
    assert source_of(own.entry) == own
    assert kind.gradient(0.01).evaluation == "propagated"
    assert Difference("forward", (0.01,)).gradient(0.01).evaluation == "dense"
    with pytest.raises(ValueError, match="steps: auto balances the rounding of dense evaluations"):
        Difference("forward", (0.01, "auto"), evaluation="propagated")


def test_sources_are_ordered_by_precision_family_and_setting():
    mixed = [source(*own) for own in (("auto", "float32"), (2.0, "float64"), (10.0, "float32"), (9.0, "float32"))]
    mixed.append(source(11.0, "float32", "central"))
    names = [own.name for own in sorted(mixed, key=lambda own: own.rank)]
    assert names == ["central-h11", "forward-h9", "forward-h10", "forward-auto", "forward-h2-float64"]


@dataclass(frozen=True)
class Bent(SourceKind):
    """A source whose options are not all told by its name."""

    name: ClassVar[str] = "bend"
    varied: ClassVar[str] = "bend"
    setting_name: ClassVar[str] = "bend"
    setting_label: ClassVar[str] = "bend (turns)"
    symbol: ClassVar[str] = "b"

    bend: Annotated[tuple[Integer, ...], option("How far.")]
    times: Annotated[Integer, option("How often.")] = 1

    def cost(self, setting, features):
        return 3


@pytest.fixture
def bent(monkeypatch):
    for own in ("_members", "_modules"):
        monkeypatch.setattr(SOURCES, own, dict(getattr(SOURCES, own)))
    SOURCES.add(Bent)


def test_two_sources_of_one_name_have_the_same_options(bent):
    own = {"bend": [1, 2]}
    assert faults(entry(own, difference()), entry(difference(), {"bend": [2, 3], "times": 2})) == [
        "gradients.g1_1: gives bend-b2, as gradients.g0_0 does with other options"
    ]
    same = study(entry(own), entry({"bend": [2, 3]}, methods=["input_x_gradient"]))
    assert [cell.gradient.name for cell in same.cells] == ["exact", "bend-b1", "bend-b2", "exact", "bend-b2", "bend-b3"]


def test_families_tell_how_sources_are_drawn(bent):
    own = study(
        entry(difference("forward", [2, "auto", 0.1]), difference("central", [1])),
        entry(difference("forward", [0.5, 10], ["float64", "float32"]), methods=["input_x_gradient"]),
        entry({"bend": [3]}, datasets=["digits"], models=["cnn"]),
    )
    families = own.families("synthetic_linear")
    assert list(families) == ["exact", "forward", "central"]
    assert families["forward"] == {
        "label": "forward differences",
        "setting_name": "step",
        "setting_label": "step size h (units of the model's inputs)",
        "symbol": "h",
        "colour": "#0072B2",
        "marker": "o",
        "exact": False,
        "settings": [0.1, 0.5, 2.0, 10.0],
    }
    assert [look["exact"] for look in families.values()] == [True, False, False]
    assert (families["exact"]["settings"], families["exact"]["setting_name"]) == ([], "")
    for look in ("label", "colour", "marker"):
        assert len({family[look] for family in families.values()}) == 3
    bend = own.families("digits")["bend"]
    assert (bend["label"], bend["setting_label"], bend["settings"]) == ("bend", "bend (turns)", [3.0])
    # The figures give a family without looks of its own what is left of the palette.
    assert (bend["colour"], bend["marker"]) == ("", "")
    assert own.families("elsewhere") == {}


def test_names_of_the_study_have_labels():
    more = {name: {"attribution": "integrated_gradients", "baseline": value} for name, value in BASELINES.items()}
    labels = study(entry(), methods=DEFAULT["methods"] | more).labels
    assert labels["dataset"] == {
        "digits": "digits",
        "synthetic_linear": "synthetic linear",
        "synthetic_nonlinear": "synthetic nonlinear",
    }
    networks = {"cnn": "CNN", "mlp": "MLP", "resnet18": "ResNet-18"}
    assert labels["model"] == networks | {
        "cnn_onnx": "cnn onnx",
        "cnn_int8": "cnn int8",
        "boosted_trees": "boosted trees",
    }
    assert labels["method"] == {
        "saliency": "Saliency",
        "input_x_gradient": "Gradient × Input",
        "integrated_gradients": "Integrated Gradients",
        "integrated_gradients_mean": "Integrated Gradients (mean baseline)",
        "integrated_gradients_published": "Integrated Gradients (published variant)",
        "integrated_gradients_published_mean": "Integrated Gradients (published variant, mean baseline)",
        "half": "Integrated Gradients (0.5 baseline)",
        "list": "Integrated Gradients (own baseline)",
        "zero": "Integrated Gradients, zero",
    }


def own_model(name="net"):
    """Models with one that has no gradient."""
    return {"models": DEFAULT["models"] | {name: {"function": "nowhere:f"}}}


def test_a_model_without_a_gradient_is_compared_with_the_named_source():
    own = study(
        entry(
            difference("forward", [0.1, 1]),
            difference("central", [0.01]),
            models=["net", "mlp"],
            methods=["saliency", "integrated_gradients_published"],
            reference="central-h0.01",
        ),
        **own_model(),
    )
    net, mlp = ([key(cell)[2:] for cell in own.cells if cell.model == name] for name in ("net", "mlp"))
    assert ("saliency", "exact") in mlp
    assert net == [
        ("saliency", "forward-h0.1"),
        ("saliency", "forward-h1"),
        ("saliency", "central-h0.01"),
        ("integrated_gradients_published", "forward-h0.1"),
        ("integrated_gradients_published", "forward-h1"),
        ("integrated_gradients", "central-h0.01"),
    ]
    names = ("synthetic_linear", "net", "integrated_gradients_published")
    assert [cell.gradient.name for cell in own.approximated(*names)] == ["forward-h0.1", "forward-h1"]
    (reference,) = own.references(*names)
    assert reference is own.exact(*names)
    assert key(reference)[2:] == ("integrated_gradients", "central-h0.01")
    assert own.is_reference(reference)
    # For a model with a gradient the same source is one of those that are compared.
    assert "central-h0.01" in [cell.gradient.name for cell in own.approximated("synthetic_linear", "mlp", "saliency")]
    assert own.exact("synthetic_linear", "mlp", "saliency").gradient.is_exact


@pytest.mark.parametrize("reference", [None, "exact", "central-h0.1"])
def test_a_model_without_a_gradient_needs_a_reference(reference):
    given = {} if reference is None else {"reference": reference}
    lines = faults(entry(difference(steps=[1, 0.1]), models=["mlp", "net"], **given), **own_model())
    assert lines == [
        "experiments[0].reference: net has no exact gradient, so name the source that others are compared with: "
        "one of forward-h0.1, forward-h1; or a model with an exact gradient at models.net.twin"
    ]


def test_models_with_a_gradient_need_no_reference():
    assert faults(entry(reference="forward-h0.1")) == [
        "experiments[0].reference: all models or their twins have an exact gradient that others are compared with; "
        "leave it out"
    ]


def test_a_model_without_a_gradient_has_one_reference():
    both = [entry(difference(steps=[step]), models=["net"], reference=f"forward-h{step}") for step in (1, 2)]
    assert faults(*both, **own_model()) == [
        "experiments[1].reference: got forward-h2, elsewhere it is forward-h1 for synthetic_linear, net, saliency; "
        "expected one"
    ]
