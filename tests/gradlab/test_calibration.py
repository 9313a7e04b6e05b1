"""The calibration itself: its rule by brute force, its scores by simulation, and that it notices what is wrong."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import stats

from gradlab.calibration import (
    INTERVALS,
    TITLES,
    Row,
    allowed_outside,
    calibrate,
    calibrated_worlds,
    judge,
    largest_allowed,
)
from gradlab.calibration.measure import Case
from gradlab.calibration.run import select
from gradlab.calibration.scores import (
    LARGEST,
    QUANTILE,
    score_of_estimate,
    score_of_mean,
    score_of_squared_norm,
    score_of_vector,
)
from gradlab.errors import GradlabError
from gradlab.estimate import Estimate
from gradlab.worlds import WORLDS, GaussianPolynomial, QuadraticBandit, RewardChain

# The rule -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 7, 40, 187])
@pytest.mark.parametrize(("share", "level"), [("1/20", "1/100"), ("1/10", "1/1500"), ("1/20", "1/2")])
def test_binomial_bound_against_exact_sums(count, share, level):
    share, level = Fraction(share), Fraction(level)
    weights = [math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(count + 1)]
    least = next(k for k in range(count + 1) if sum(weights[k + 1 :]) <= level)
    assert allowed_outside(count, float(share), float(level)) == least


def test_largest_bound_holds_whatever_the_dependence():
    """Bonferroni: exact for disjoint tails, and never exceeded more often than stated for equal or independent ones."""
    level, count, runs = 0.05, 20, 40_000
    bound = largest_allowed(count, level)
    assert count * 2 * stats.norm.sf(bound) == pytest.approx(level)
    normal = np.random.default_rng(0).normal(size=(runs, count))
    for shared in (0.0, 0.5, 1.0):
        values = math.sqrt(shared) * normal[:, :1] + math.sqrt(1 - shared) * normal
        exceeded = (np.abs(values).max(1) > bound).mean()
        assert exceeded < level + 4 * math.sqrt(level / runs)


def row(quantity="gradient", z=0.0, **changes):
    given = {"world": "w", "setting": "s", "estimator": "e", "quantity": quantity, "truth": 1.0, "measured": 1.0}
    given |= {"stderr": 0.1, "interval": (0.8, 1.2), "z": z}
    return Row(**(given | changes))


def failed(rows):
    return [(check.name, check.quantity) for check in judge(rows) if not check.passed]


def test_every_check_can_fail_alone():
    well = [row(q, z=0.1, held=24 * (q in INTERVALS), intervals=24 * (q in INTERVALS)) for q in TITLES] * 20
    assert failed(well) == []
    assert failed([*well, *[row("variance", z=2.5)] * 20]) == [("outside 95 %", "variance")]
    assert failed([*well, row("gradient", z=-9.0)]) == [("largest |z|", "")]
    # Beyond their ends ratios' z have no known tail; one of them alone is only counted.
    assert failed([*well, row("snr", z=-9.0)]) == []
    assert failed([*well, *[row("cosine", held=10, intervals=24)] * 20]) == [("intervals missed", "cosine")]
    assert failed([*well, row("bias_squared", z=math.inf, exact=True)]) == [("not exact", "")]
    assert failed([*well, row("snr", z=math.nan)]) == []


def test_false_alarms_stay_below_the_stated_level():
    """Rows as an honest instrument makes them, those of a case all but equal to each other."""
    generator, runs, quantities = np.random.default_rng(1), 150, list(TITLES)
    alarms = 0
    for _ in range(runs):
        rows = []
        for case in generator.normal(size=60):
            for quantity in quantities:
                held = 24 - generator.binomial(24, 0.1) if quantity in INTERVALS else 0
                z = 0.95 * case + math.sqrt(1 - 0.95**2) * generator.normal()
                rows.append(row(quantity, z=z, held=held, intervals=24 * (quantity in INTERVALS)))
        alarms += bool(failed(rows))
    assert alarms <= stats.binom.isf(1e-4, runs, 0.01)


# Scores ---------------------------------------------------------------------------------------------------------------


def outside(scores):
    return float(np.mean([abs(score.z) > QUANTILE for score in scores]))


@pytest.mark.parametrize("freedom", [1, 3, 20])
def test_skewed_means_are_outside_as_often_as_stated(freedom):
    """χ² values, as sample variances are; a plain t is too often far below the truth."""
    runs = 2000
    values = np.random.default_rng(2).chisquare(freedom, size=(runs, 24))
    scores = [score_of_mean(each, freedom) for each in values]
    assert abs(outside(scores) - 0.05) < 4 * math.sqrt(0.05 * 0.95 / runs)
    assert all((s.interval[0] <= freedom <= s.interval[1]) == (abs(s.z) <= QUANTILE) for s in scores)
    plain = stats.ttest_1samp(values, freedom, axis=1).statistic
    corrected, uncorrected = np.sum([s.z < -2 for s in scores]), np.sum(plain < stats.t.ppf(stats.norm.cdf(-2), 23))
    assert corrected < uncorrected
    if freedom == 1:
        assert uncorrected > 2 * stats.norm.cdf(-2) * runs


def test_symmetric_means_are_students():
    values = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    for truth in (-1.0, 0.3, 4.0):
        test = stats.ttest_1samp(values, truth)
        score = score_of_mean(values, truth)
        assert score.z == pytest.approx(math.copysign(stats.norm.isf(test.pvalue / 2), test.statistic), rel=1e-6)
        assert score.interval == pytest.approx(tuple(test.confidence_interval()), rel=1e-9)


@pytest.mark.parametrize("size", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("spread", [[1.0], [1.0, 0.2, 0.05], [1.0] * 6])
def test_squared_norms_are_outside_as_often_as_stated(size, spread):
    generator = np.random.default_rng(3)
    bias, covariance = np.full(len(spread), size), np.diag(spread)
    scores, runs = [], 600
    for _ in range(runs):
        vectors = bias + generator.normal(size=(24, len(spread))) * np.sqrt(spread)
        scores.append(score_of_squared_norm((vectors**2).sum(1) - sum(spread), bias, covariance))
    truth = float(bias @ bias)
    assert abs(outside(scores) - 0.05) < 4 * math.sqrt(0.05 * 0.95 / runs)
    assert all((s.interval[0] <= truth <= s.interval[1]) == (abs(s.z) <= QUANTILE) for s in scores)
    measured = np.array([s.measured for s in scores])
    # The squares' kurtosis is at most 12/24 over 3 here: a relative error of √((κ − 1)/(4n)), four times.
    assert scores[0].stderr == pytest.approx(measured.std(), rel=4 * math.sqrt(2.5 / (4 * runs)))
    assert abs(measured.mean() - truth) < 4 * measured.std() / math.sqrt(len(measured))


def test_vectors_by_the_formula():
    draws = np.random.default_rng(4).normal(size=(50, 3)) @ np.array([[1.0, 0.5, 0], [0, 1, 0.2], [0, 0, 2.0]])
    truth = np.array([0.1, -0.2, 0.3])
    difference = draws.mean(0) - truth
    square = 50 * difference @ np.linalg.inv(np.cov(draws.T)) @ difference
    tail = stats.f.sf(square * 47 / (3 * 49), 3, 47)
    score, expected = score_of_vector(draws, truth)
    assert score.measured == pytest.approx(square)
    assert score.z == pytest.approx(stats.norm.isf(tail / 2))
    assert expected == pytest.approx(3 * 49 / 47 * stats.f.mean(3, 47))
    assert score.stderr == pytest.approx(3 * 49 / 47 * stats.f.std(3, 47))


def test_vectors_must_agree_where_they_do_not_scatter():
    normal = np.random.default_rng(5).normal(size=(400, 3))
    draws = normal - normal.mean(1, keepdims=True)
    assert score_of_vector(draws, np.zeros(3))[0].z < 4
    assert score_of_vector(draws, np.full(3, 1e-3))[0].z == LARGEST
    assert score_of_vector(normal[:, :1], np.zeros(1)) is None


def test_estimates_are_scored_by_their_own_interval():
    skewed = Estimate(2.0, 0.5, 64, ends=(1.0, 4.0))
    assert score_of_estimate(skewed, 0.9) > QUANTILE > score_of_estimate(skewed, 1.1) > 0
    assert score_of_estimate(skewed, 4.1) < -QUANTILE < score_of_estimate(skewed, 3.9) < 0
    assert math.isnan(score_of_estimate(Estimate(math.nan, math.nan, 64), 1.0))
    assert math.isnan(score_of_estimate(Estimate(1.0, math.nan, 1), 1.0))
    # A cosine's interval ends at one: a truth there is inside, and how far is for the standard error to say.
    assert score_of_estimate(Estimate(0.99, 0.02, 64, ends=(0.9, 1.0)), 1.0) == pytest.approx(-0.5)


# Worlds ---------------------------------------------------------------------------------------------------------------


def test_every_world_is_calibrated_and_every_case_has_a_name_of_its_own():
    worlds = calibrated_worlds()
    assert {type(world) for _, world in worlds} == set(WORLDS)
    cases = select(worlds, (), ())
    assert len({case.labels for case in cases}) == len(cases)
    for setting, world in worlds:
        assert world.admitted(), setting


class Wrong(QuadraticBandit):
    """A quadratic whose word about one estimator is changed."""

    name = "wrong"

    def __init__(self, change, which="zeroth-order-2"):
        super().__init__([1.0, -2.0], [[-1.0, 0.3], [0.3, -2.0]], q0=1.0)
        self.change, self.which = change, which

    def admitted(self):
        found = [admitted for admitted in super().admitted() if admitted.estimator.name == self.which]
        return [admitted._replace(**self.change(admitted)) for admitted in found]


def unchanged(admitted):
    return {}


def mean_off(admitted):
    return {"mean": admitted.mean + torch.tensor([0.0, 0.4]).double(), "truth": admitted.truth}


def truth_off(admitted):
    return {"mean": 1.2 * admitted.mean, "truth": 1.2 * admitted.truth}


def variance_off(admitted):
    return {"variance": 1.3 * admitted.variance}


def outcome(change, which="zeroth-order-2", seed=0, **options):
    return calibrate([("", Wrong(change, which))], seed=seed, **options)


def test_right_answers_pass_and_wrong_ones_do_not():
    assert outcome(unchanged).passed
    for change in (mean_off, truth_off, variance_off):
        result = outcome(change)
        assert not result.passed, change
        assert "OUT" in {one.verdict for one in result.rows}


def test_wrong_answers_without_noise_are_wrong():
    right, wrong = (outcome(change, "deterministic") for change in (unchanged, truth_off))
    assert right.passed
    assert {one.verdict for one in right.rows} == {"exact"}
    assert not wrong.passed
    assert "WRONG" in {one.verdict for one in wrong.rows}


def test_a_known_bias_is_measured():
    """The naive estimator misses θ k m_{k−1}: 2 at θ = 1, 8 at θ = 2."""
    for theta, bias in ((1.0, 2.0), (2.0, 8.0)):
        result = calibrate([("", GaussianPolynomial(2, theta))], estimator=["naive"])
        (found,) = [one for one in result.rows if one.quantity == "bias_squared"]
        assert found.truth == pytest.approx(bias**2)
        assert found.verdict == "in"
        assert found.measured == pytest.approx(bias**2, abs=4 * found.stderr)
        assert found.stderr < 0.05 * bias**2


def test_episodes_are_measured_too():
    result = calibrate([("T=4", RewardChain(4, 0.5))], draws=64, repeats=12)
    assert result.passed, result.checks
    assert len({one.estimator for one in result.rows}) >= 4


def test_the_correction_of_the_u_statistic_is_noticed_when_it_is_left_out():
    worlds = [("p=6", QuadraticBandit([1.0, -2.0, 0.5, 0.0, 1.5, -1.0], torch.eye(6).double(), q0=3.0))]
    names = ["zeroth-order-2", "zeroth-order-antithetic", "score-function"]
    well, ill = (calibrate(worlds, estimator=names, sabotage=sabotage) for sabotage in (False, True))
    assert well.passed
    assert not ill.passed
    assert {check.quantity for check in ill.checks if not check.passed} <= {"bias_squared", ""}
    assert all(control.noticed for control in well.controls)
    assert [control.of for control in well.controls] == [3, 3, 3]
    # All else is what it was.
    assert [one for one in well.rows if one.quantity != "bias_squared"] == [
        one for one in ill.rows if one.quantity != "bias_squared"
    ]


def test_power_is_what_it_says():
    """An error as large as stated is noticed about nine times in ten."""
    size = outcome(unchanged, repeats=12).noticeable("gradient")
    noticed = 0
    for seed in range(20):
        rows = outcome(
            lambda a: {"mean": (1 + size) * a.mean, "truth": (1 + size) * a.truth}, seed=seed, repeats=12
        ).rows
        bound = next(check.allowed for check in judge(rows) if check.name == "largest |z|")
        noticed += any(abs(one.z) > bound for one in rows if one.quantity == "gradient")
    assert noticed >= stats.binom.ppf(1e-3, 20, 0.9)


def test_results_depend_on_nothing_but_seed_and_names():
    worlds = [("", GaussianPolynomial(2, 1.0)), ("", Wrong(unchanged))]
    state = torch.random.get_rng_state()
    all_rows = calibrate(worlds, draws=16, repeats=4).rows
    alone = calibrate(worlds[::-1], world=["wrong"], draws=16, repeats=4).rows
    other = calibrate(worlds, world=["wrong"], draws=16, repeats=4, seed=1).rows
    assert alone == tuple(one for one in all_rows if one.world == "wrong")
    assert [one.measured for one in other] != [one.measured for one in alone]
    assert torch.equal(torch.random.get_rng_state(), state)


def test_generators_of_cases_are_their_own():
    case = select([("", Wrong(unchanged))], (), ())[0]
    other = Case(case.world, "elsewhere", case.admitted, case.name)
    seeds = {one.generator(seed).initial_seed() for one in (case, other) for seed in (0, 1)}
    assert len(seeds) == 4


def test_progress_and_record():
    seen = []
    result = calibrate(
        [("", Wrong(unchanged))], draws=8, repeats=4, progress=lambda done, cases, rows: seen.append((done, cases))
    )
    assert seen == [(1, 1)]
    record = json.loads(json.dumps(result.record(), allow_nan=False))
    assert record["passed"] is result.passed
    assert {"seed", "draws", "repeats", "versions", "rule", "checks", "controls", "rows"} <= set(record)
    assert {"gradlab", "torch", "python"} <= set(record["versions"])
    for one in record["rows"]:
        assert {"world", "setting", "estimator", "quantity", "truth", "measured", "stderr", "interval", "z"} <= set(one)
        assert one["verdict"] in ("in", "OUT", "exact", "WRONG", "unresolved")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"world": ["wrnog"]}, ("wrnog", "wrong")),
        ({"estimator": ["zeroth"]}, ("zeroth", "zeroth-order-2")),
        ({"draws": 3}, ("draws", "4")),
        ({"repeats": 1}, ("repeats", "4")),
    ],
)
def test_wrong_input(options, words):
    with pytest.raises(GradlabError) as caught:
        calibrate([("", Wrong(unchanged))], **options)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: {"mean": math.nan * a.mean},
        lambda a: {"variance": math.nan},
        lambda a: {"variance": -1.0},
        lambda a: {"mean": torch.ones(3).double(), "truth": torch.ones(3).double()},
        lambda a: {"mean": torch.ones(3).double()},
    ],
)
def test_answers_that_are_none_are_refused_by_name(change):
    with pytest.raises(GradlabError, match=r"wrong \(\) with zeroth-order-2: .*") as caught:
        outcome(change, draws=8, repeats=4)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_everything_is_calibrated():
    result = calibrate(draws=64, repeats=12)
    assert result.passed, [check for check in result.checks if not check.passed]
    assert all(control.noticed for control in result.controls)
