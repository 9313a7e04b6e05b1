"""On-policy numbers: the figures of a rollout, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest

from dashboards import figures
from dashboards.answer import answer, tiles
from dashboards.figures.rollout_gradient import rollout_size
from dashboards.own import needed
from dashboards.series import collect
from gradlab.estimate import Estimate
from gradlab.measurement import Measurement
from gradlab.store import open_store

STEPS = 2048


def rollout(snr, ends, *, steps=STEPS, explained=0.8):
    """What the probe stores of a rollout of so many steps."""
    scale = Estimate(steps / snr, 1.0, 24, ends=(steps / ends[1], steps / ends[0] if ends[0] > 0 else np.inf))
    return Measurement(
        {
            "score-function/snr": Estimate(snr, 0.1, 24, ends=ends),
            "score-function/noise_scale": scale if snr > 0 else Estimate(np.nan, np.nan, 24),
            "score-function/variance": Estimate(0.02, 0.002, 24),
            "score-function/gradient_squared": Estimate(0.02 * snr, 0.002, 24),
            "value/bias": Estimate(-1.5, 0.2, 24, "value targets"),
            "value/rmse": Estimate(3.0, 0.2, 24, "value targets"),
            "value/explained_variance": Estimate(explained, 0.01, 24, "value targets"),
            "policy/entropy": Estimate(1.4, 0.01, 24),
        }
    )


#: step → SNR and its interval.
KNOWN = {2048: (-0.2, (-1.0, 0.7)), 4096: (0.5, (-0.1, 1.2)), 6144: (2.0, (1.2, 3.0)), 8192: (4.0, (2.0, 7.0))}


@pytest.fixture
def measured(store_path):
    with open_store(store_path) as store:
        run = store.start_run(algorithm="PPO", environment="Pendulum-v1")
        for step, (snr, ends) in KNOWN.items():
            run.record(step, "on-policy", rollout(snr, ends), cost=0.05)
    return read(store_path)


def read(path):
    with open_store(path, readonly=True) as store:
        return collect(store.scalars(run=1))


def of(snr, ends, **more):
    """The series of one rollout, without a store."""
    from gradlab.store.records import ScalarTable

    found = rollout(snr, ends, **more).scalars
    rows = len(found)
    columns = {
        "value": [one.value for one in found.values()],
        "stderr": [one.stderr for one in found.values()],
        "low": [one.interval()[0] for one in found.values()],
        "high": [one.interval()[1] for one in found.values()],
    }
    text = {"probe": ["on-policy"] * rows, "name": list(found), "reference": [""] * rows, "objective": [""] * rows}
    numbers = {"id": [1] * rows, "run": [1] * rows, "step": [40_960] * rows, "samples": [24] * rows}
    return collect(
        ScalarTable(
            **{name: np.array(column) for name, column in {**columns, **numbers}.items()},
            **{name: np.array(column, dtype=object) for name, column in text.items()},
            time=np.zeros(rows),
            scale=np.array(["linear"] * rows, dtype=object),
        )
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_snr_is_dotted_and_hollow_where_it_is_not_resolved(measured, theme):
    figure = figures.rollout_gradient(measured, theme)
    (marks,) = (trace for trace in figure.data if trace.name == "SNR")
    assert marks.mode == "markers"
    assert list(marks.marker.symbol) == ["circle-open", "circle-open", "circle", "circle"]
    assert marks.customdata[:, 0] == pytest.approx([snr for snr, _ in KNOWN.values()])
    solid, dotted = (trace for trace in figure.data if trace.mode == "lines" and trace.yaxis == "y" and not trace.fill)
    assert (solid.line.dash, dotted.line.dash) == (None, "dot")
    assert solid.x[np.isfinite(solid.x)].tolist() == [6144, 8192]
    assert dotted.x[np.isfinite(dotted.x)].tolist() == [2048, 4096, 4096, 6144]
    # Where signal and noise are equal.
    (rule,) = figure.layout.shapes
    assert (rule.yref, rule.y0) == ("y", pytest.approx(np.log10(1 + 1 / 0.1)))


def test_the_noise_scale_is_on_a_logarithm_beside_the_rollouts_own_size(measured):
    figure = figures.rollout_gradient(measured)
    assert figure.layout.yaxis3.type == "log"
    (scale,) = (trace for trace in figure.data if trace.name == "noise scale")
    assert scale.x[np.isfinite(scale.y)].tolist() == [4096, 6144, 8192]
    assert scale.y[np.isfinite(scale.y)] == pytest.approx([STEPS / 0.5, STEPS / 2, STEPS / 4])
    (size,) = (trace for trace in figure.data if "rollout" in (trace.hovertemplate or ""))
    assert (list(size.x), list(size.y)) == ([4096, 6144, 8192], [STEPS] * 3)
    (none,) = (trace for trace in figure.data if "no noise scale" in (trace.hovertemplate or ""))
    assert list(none.x) == [2048]
    assert rollout_size(measured).value.tolist() == [STEPS] * 3


def test_an_end_below_zero_does_not_take_the_logarithm_away(store_path, recorder):
    numbers = {
        "score-function/snr": Estimate(2.0, 3.0, 24, ends=(-4.0, 9.0)),
        "score-function/noise_scale": Estimate(1024.0, 500.0, 24, ends=(-17.0, np.inf)),
    }
    recorder.run.record(1, "on-policy", Measurement(numbers))
    figure = figures.rollout_gradient(read(store_path))
    assert figure.layout.yaxis3.type == "log"
    (scale,) = (trace for trace in figure.data if trace.name == "noise scale")
    assert "no bound" in scale.text[0]
    tile = next(tile for tile in tiles(read(store_path)) if tile.label == "noise scale, steps")
    assert (tile.value, tile.interval) == ("1,024", "no interval")


def test_v_and_entropy_are_drawn_with_their_numbers(measured):
    figure = figures.rollout_value(measured)
    found = {trace.name: trace for trace in figure.data if trace.name}
    assert set(found) == {"explained variance", "V's RMSE", "V's bias", "entropy"}
    expected = {"explained variance": 0.8, "V's RMSE": 3.0, "V's bias": -1.5, "entropy": 1.4}
    for name, value in expected.items():
        assert found[name].customdata[:, 0] == pytest.approx([value] * 4)
    assert "24 trajectories" not in found["entropy"].hovertemplate
    assert "trajectories" in found["entropy"].hovertemplate


def test_terms_of_the_ledger_and_clipping_are_drawn_where_there_are_some(store_path, recorder):
    numbers = {
        "ledger/gae_bias": Estimate(0.3, 0.1, 24, ends=(0.1, 0.6)),
        "ledger/state_distribution": Estimate(-0.02, 0.1, 24, ends=(-0.2, 0.1)),
        "policy/kl": Estimate(0.01, 0.001, 24),
    }
    recorder.run.record(1, "on-policy", Measurement(numbers))
    figure = figures.rollout_ledger(read(store_path))
    found = {trace.name: trace for trace in figure.data if trace.name}
    assert set(found) == {"bias of GAE(λ)", "missing γᵗ", "KL"}
    assert found["bias of GAE(λ)"].customdata[:, 0] == pytest.approx([0.3])
    # No panel of clipping in a run that clips nothing.
    assert not any("clipped" in note.text for note in figure.layout.annotations)
    ppo = {"probes": {"on-policy": {}}}
    assert needed("rollout-ledger", read(store_path), ppo, ["on-policy"])
    assert not needed("rollout-ledger", {}, ppo, ["on-policy"])


def test_a_rollout_with_too_few_trajectories_says_so():
    absent = [(512, "too few independent samples")]
    assert "too few" in figures.rollout_gradient({}, absent=absent).layout.annotations[0].text
    assert figures.rollout_gradient({}).layout.annotations[0].text == "waiting for the first rollout"


@pytest.mark.parametrize(
    ("snr", "ends", "verdict", "text"),
    [
        (0.2, (0.05, 0.6), "bad", "most of a rollout's gradient is noise (SNR 0.2, 0.05 to 0.6; n = 24 trajectories)"),
        (4.0, (2.0, 7.0), "good", "most of a rollout's gradient is signal (SNR 4, 2 to 7; n = 24 trajectories)"),
        (0.9, (0.3, 2.0), "doubtful", "whether most of a rollout's gradient is signal or noise is not resolved"),
        (0.5, (-0.1, 1.2), "doubtful", "a rollout's gradient cannot be told from noise (SNR 0.5, −0.1 to 1.2"),
        (-0.2, (-1.0, 0.7), "bad", "most of a rollout's gradient is noise (SNR −0.2, −1 to 0.7"),
        (0.5, (-np.inf, np.inf), "doubtful", "a rollout's gradient cannot be told from noise (SNR 0.5, no interval"),
    ],
    ids=["noise", "signal", "either", "unresolved", "unresolved-noise", "unknown"],
)
def test_the_answer_says_what_a_rollouts_gradient_is(snr, ends, verdict, text):
    said = answer(of(snr, ends))
    assert text in said.text
    assert said.text.startswith("Step 40,960: ")
    assert said.verdict == verdict
    assert ("Signal and noise balance" in said.text) == (snr > 0)


def test_the_answer_gives_the_batch_size_and_how_well_v_fits():
    said = answer(of(0.2, (0.05, 0.6))).text
    assert "balance at a batch of about 10,000 steps (3,400 to 41,000), 5 times the rollout's 2,048." in said
    assert "V explains 80 % (78 to 82 %) of the variance of its targets, which bootstrap on V." in said
    assert "no better than a constant" in answer(of(0.2, (0.05, 0.6), explained=-0.02)).text


def test_tiles_of_a_run_without_critic_are_the_rollouts(measured):
    found = {tile.label: tile for tile in tiles(measured)}
    assert found["SNR of a rollout"].value == "4"
    assert found["noise scale, steps"].value == "512"
    assert found["explained variance"].value == "80 %"
    assert found["entropy, nats"].detail == "n = 24 trajectories · step 8,192"


def test_a_noise_scale_that_was_never_there_is_called_unresolved():
    found = {tile.label: tile for tile in tiles(of(-0.2, (-1.0, 0.7)))}
    assert (found["noise scale, steps"].value, found["noise scale, steps"].detail) == ("—", "not resolved yet")


def test_a_run_with_a_critic_too_says_both(store_path, recorder):
    recorder.record(1000)
    recorder.run.record(1000, "on-policy", rollout(0.2, (0.05, 0.6)))
    said = answer(read(store_path)).text
    assert "points the wrong way" in said
    assert "most of a rollout's gradient is noise" in said
