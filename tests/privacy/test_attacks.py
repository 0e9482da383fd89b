"""Membership attacks: figures by hand and their intervals by simulation; a generator that memorises is caught, one that has learnt the distribution is not accused."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch.nn import functional as F

from echosynth.generative.flow import interpolate
from echosynth.metrics.ranking import mann_whitney
from echosynth.networks.denoiser import DenoiserConfig
from echosynth.privacy.attacks import auc_interval, by_patient, membership
from echosynth.privacy.probes import (
    cross_fitted,
    diffusion_error,
    diffusion_norm,
    diffusion_reconstruction,
    excess_variance,
    flow_error,
    flow_norm,
    flow_reconstruction,
    middle_likeness,
    nearest_scores,
    probe,
    votes,
)
from echosynth.privacy.screen import rate

# --- what is reported ---


def test_hand_worked():
    members, strangers = np.array([5.0, 3, 2, 0]), np.array([4.0, 2, 1, 1, 0])
    result = membership("toy", members, strangers)
    assert result.auc.value == pytest.approx((5 + 4 + 3.5 + 0.5) / 20)
    assert [c.members for c in result.caught] == [rate(1, 4)] * 2 and result.caught[0].strangers == rate(0, 5)
    assert result.worst.members == rate(1, 1) and result.worst.chance == pytest.approx(4 / 9)
    assert result.worst.lead == pytest.approx((5 - 4) / strangers.std())


def test_false_alarms_are_those_allowed():
    strangers, members = np.arange(1000.0), np.array([998.5, 998.0, 989.5, 989.0, 0])
    result = membership("toy", members, strangers, false_alarms=(0.001, 0.01, 0.0))
    # One in a thousand: above the second highest, 998. One in a hundred: above 989.
    assert [c.members.share for c in result.caught] == [1 / 5, 3 / 5, 0] and [c.strangers for c in result.caught] == [rate(1, 1000), rate(10, 1000), rate(0, 1000)]


def test_patients_who_tie_share_the_worst_places():
    result = membership("constant", np.zeros(30), np.zeros(70))
    assert result.worst.members.share == pytest.approx(0.3) and result.auc.value == 0.5 and np.isnan(result.worst.lead)
    assert result.caught[1].members.share == 0


def test_strata_compare_like_with_like():
    members, strangers = np.array([1.0, 2, 9]), np.array([0.0, 5, 6])
    failing = (np.array([False, False, True]), np.array([False, True, True]))
    nobody = (np.zeros(3, bool), np.ones(3, bool))
    result = membership("toy", members, strangers, strata={"low EF": failing, "rare": nobody})
    assert result.strata["low EF"] == (1, 2, auc_interval(1.0, 1, 2)) and np.isnan(result.strata["rare"].auc.value)


def test_a_result_goes_into_a_file():
    result = membership("toy", np.array([1.0, 2]), np.zeros(3), threat="weights", strata={"rare": (np.zeros(2, bool), np.ones(3, bool))})
    told = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert told["threat"] == "weights" and told["auc"]["value"] == 1 and told["strata"]["rare"]["auc"]["low"] is None
    assert told["caught"][1]["members"] == {"share": 1, **dict(zip(("low", "high", "count"), rate(2, 2)[1:], strict=True))} and told["worst"]["lead"] is None


def test_by_patient():
    names, scores = by_patient([1, 2, 6, 4], ["b", "a", "b", "a"])
    assert names.tolist() == ["a", "b"] and scores.tolist() == [3, 3.5]
    assert by_patient([1, 2, 6, 4], ["b", "a", "b", "a"], "max").scores.tolist() == [4, 6]
    assert by_patient([[1, 0], [3, 4]], ["a", "a"]).scores.tolist() == [[2, 2]]


# --- intervals of an AUC ---


def test_an_interval_has_width_at_the_ends_and_mirrors():
    top = auc_interval(1.0, 20, 30)
    assert top.high == 1 and 0.8 < top.low < 0.99
    for auc in (0.0, 0.2, 0.5, 0.77, 1.0):
        low, high = auc_interval(auc, 20, 30)[1:]
        assert auc_interval(1 - auc, 20, 30)[1:] == pytest.approx((1 - high, 1 - low), abs=1e-6) and low <= auc <= high
    # At 1/2 the variance is 1 / 12 (m + n + 1) / (m n), Mann and Whitney's own: a true AUC of 1/2 lies on the edge of the interval of 1/2 + z sd.
    sd = np.sqrt(51 / (12 * 20 * 30))
    assert auc_interval(0.5 + 1.959964 * sd, 20, 30).low == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("distance", [0.0, 1.0, 2.5])
def test_an_interval_covers_the_true_auc(distance):
    rng, truth, covered, trials = np.random.default_rng(3), norm.cdf(distance / np.sqrt(2)), 0, 600
    for _ in range(trials):
        found = auc_interval(mann_whitney(rng.standard_normal(40) + distance, rng.standard_normal(40)), 40, 40)
        covered += found.low <= truth <= found.high
    assert covered / trials > 0.95 - 4 * np.sqrt(0.95 * 0.05 / trials)


# --- attacks on a release ---

PATIENTS = 400


def pools(seed, copies):
    """Embeddings of members and strangers, two clips a patient, around places of their own; and of 800 synthetic rows: noisy training rows, or fresh draws."""
    rng = np.random.default_rng(seed)

    def cohort(count):
        return np.repeat(rng.standard_normal((count, 32)), 2, 0) + 0.3 * rng.standard_normal((2 * count, 32))

    members, strangers = cohort(PATIENTS), cohort(PATIENTS)
    synthetic = members + 0.3 * rng.standard_normal(members.shape) if copies else cohort(PATIENTS)
    return [F.normalize(torch.from_numpy(rows).float(), dim=1) for rows in (members, strangers, synthetic)]


def attacked(seed, copies):
    members, strangers, synthetic = pools(seed, copies)
    owner = np.repeat(np.arange(PATIENTS), 2)
    nearest = [by_patient(nearest_scores(rows, synthetic), owner).scores for rows in (members, strangers)]
    both = votes(torch.cat([members, strangers]), [f"{side}{k:03}" for side in "ms" for k in owner], synthetic, np.arange(len(synthetic)) // 2)
    pointed = [both.scores[[name.startswith(side) for name in both.patients]] for side in "ms"]
    together = cross_fitted(*(np.stack(pair, 1) for pair in zip(nearest, pointed, strict=True)), seed=0)
    return [membership(name, *scores) for name, scores in (("nearest", nearest), ("votes", pointed), ("classifier", together))]


def test_a_release_of_training_clips_with_noise_is_caught():
    for result in attacked(0, copies=True):
        assert result.auc.value >= 0.9 and result.auc.low > 0.85, result.name
        assert result.worst.members.share == 1 and result.members == result.strangers == PATIENTS
    assert attacked(0, copies=True)[0].caught[1].members.low > 0.5


def test_a_release_of_fresh_patients_is_not_accused():
    for result in attacked(1, copies=False):
        assert 0.45 <= result.auc.value <= 0.55 and result.auc.low < 0.5 < result.auc.high, result.name


def test_a_few_copies_show_at_the_top_only():
    members, strangers, synthetic = pools(2, copies=False)
    synthetic[:8] = members[:8]  # both clips of four patients
    owner = np.repeat(np.arange(PATIENTS), 2)
    patients, exposed = by_patient(nearest_scores(members, synthetic), owner)
    result = membership("nearest", exposed, by_patient(nearest_scores(strangers, synthetic), owner).scores)
    assert set(patients[np.argsort(-exposed)[:4]]) == {"0", "1", "2", "3"}
    assert 0.45 <= result.auc.value <= 0.55 and result.caught[0].members.share >= 4 / PATIENTS and result.worst.lead > 5


def test_votes_are_shared_by_the_frames_of_a_sample():
    real = torch.eye(3)
    found = votes(real, ["x", "y", "z"], real[[0, 0, 1, 2]], ["clip a", "clip a", "clip a", "clip b"])
    assert found.patients.tolist() == ["x", "y", "z"] and found.scores == pytest.approx([2 / 3, 1 / 3, 1])


def test_a_reference_takes_out_what_is_ordinary():
    centre = F.normalize(torch.ones(1, 8), dim=1)
    ordinary, odd = F.normalize(centre + 0.05 * torch.eye(8)[:1], dim=1), torch.eye(8)[3:4]
    real, synthetic = torch.cat([ordinary, odd]), torch.cat([centre, F.normalize(odd + 0.4 * centre, dim=1)])
    raw, calibrated = nearest_scores(real, synthetic), nearest_scores(real, synthetic, reference=centre)
    assert raw[0] > raw[1] and calibrated[1] > 0.5 > abs(calibrated[0]) + 0.4


# --- attacks on weights: denoisers in closed form ---


class Memoriser:
    """The best denoiser of the training clips themselves, E[data | x_t] over the empirical distribution: what training without end leads to."""

    def __init__(self, data):
        self.data = data.flatten(1)

    def mean(self, x, signal, noise):
        """x (B, ...) with given factors (B, 1) of signal and noise -> posterior mean of the data, shape of x."""
        distance = torch.cdist(x.flatten(1) / signal, self.data).square() * (signal / noise) ** 2
        return ((-distance / 2).softmax(1) @ self.data).view_as(x)

    def __call__(self, x, t, condition):
        return (x - self.mean(x, 1 - t[:, None], t[:, None])) / t.view(-1, 1, 1, 1, 1)


class Healthy(Memoriser):
    """The best denoiser of the whole distribution, here a standard normal one."""

    def mean(self, x, signal, noise):
        return (signal / (signal**2 + noise**2)).view(-1, 1, 1, 1, 1) * x


def clips(seed, count=120):
    rng = np.random.default_rng(seed)
    data = torch.from_numpy(rng.standard_normal((count, 3, 2, 2, 2), dtype=np.float32))
    return {"data": data, "labels": torch.zeros(count, 1), "weight": torch.ones(count, 3)}


def probed(model, loss, seed=5, times=(0.2, 0.5, 0.8), count=120):
    members, strangers = clips(0, count), clips(1, count)
    return [probe(model, loss, lambda samples, side=side: {key: value[samples] for key, value in side.items()}, count, times, seed) for side in (members, strangers)]


@pytest.mark.parametrize("loss", [flow_error, flow_norm])
def test_a_model_that_memorises_is_caught_by_its_weights(loss):
    members, strangers = probed(Memoriser(clips(0)["data"]), loss)
    assert mann_whitney(members[:, 0], strangers[:, 0]) > 0.99 and mann_whitney(members[:, 1], strangers[:, 1]) > 0.9
    scores = cross_fitted(members, strangers, seed=0)
    assert membership("classifier", *scores, threat="weights").auc.value > 0.99


@pytest.mark.parametrize("loss", [flow_error, flow_norm])
def test_a_model_of_the_distribution_is_not_accused(loss):
    members, strangers = probed(Healthy(clips(0)["data"]), loss, count=1200)
    assert all(0.45 <= mann_whitney(members[:, k], strangers[:, k]) <= 0.55 for k in range(3))


def test_the_published_diffusion_is_probed_alike():
    class Diffusion(Memoriser):
        def __call__(self, x, steps, condition):
            kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)[steps][:, None]  # Ho et al. 2020
            signal, noise = kept.sqrt(), (1 - kept).sqrt()
            data = self.mean(x, signal, noise)
            found = (x - signal.view(-1, 1, 1, 1, 1) * data) / noise.view(-1, 1, 1, 1, 1)
            return signal.view(-1, 1, 1, 1, 1) * found - noise.view(-1, 1, 1, 1, 1) * data

    for loss in (diffusion_error, diffusion_norm):
        members, strangers = probed(Diffusion(clips(0)["data"]), loss, times=(0.2, 0.4))
        assert mann_whitney(members[:, 0], strangers[:, 0]) > 0.99
    assert -members[:, 0].max() < 1e-6  # no noise is found in a training clip
    sides = pictures(0), pictures(1)
    scores = [probe(Diffusion(sides[0]["data"]), diffusion_reconstruction, lambda samples, side=side: {k: v[samples] for k, v in side.items()}, 120, (0.3,), 5) for side in sides]
    assert mann_whitney(scores[0][:, 0], scores[1][:, 0]) > 0.99


def pictures(seed, count=120, side=16):
    """Latents of three frames of one channel with a spectrum that falls as 1 / f, as images have."""
    rng = np.random.default_rng(seed)
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    found = np.fft.ifft2(np.fft.fft2(rng.standard_normal((count, 1, 1, side, side))) / np.maximum(radius, 1 / side)).real
    data = torch.from_numpy(found / found.std()).float().expand(-1, 3, -1, -1, -1)
    return {"data": data, "labels": torch.zeros(count, 1), "weight": torch.ones(count, 3)}


def test_middle_frequencies_of_reconstructions_give_members_away():
    members, strangers = pictures(0), pictures(1)
    memoriser = Memoriser(members["data"])
    scores = [
        probe(memoriser, flow_reconstruction, lambda samples, side=side: {key: value[samples] for key, value in side.items()}, 120, (0.4,), 0)[:, 0] for side in (members, strangers)
    ]
    assert mann_whitney(*scores) > 0.99 and -scores[0].max() < 0.05
    nobody = Memoriser(pictures(2)["data"])
    scores = [probe(nobody, flow_reconstruction, lambda samples, side=side: {key: value[samples] for key, value in side.items()}, 120, (0.4,), 0)[:, 0] for side in (members, strangers)]
    assert 0.4 < mann_whitney(*scores) < 0.6


def test_the_reconstruction_of_a_known_velocity_is_the_data():
    batch = pictures(3, 4)
    noise, t = torch.randn(batch["data"].shape, generator=torch.Generator().manual_seed(0)), torch.full((4,), 0.4)
    assert flow_reconstruction(lambda x, t, c: noise - batch["data"], batch, t, noise).abs().max() < 1e-5
    assert flow_reconstruction(lambda x, t, c: torch.zeros_like(x), batch, t, noise).min() > 0.05  # noise is left in


def test_only_the_middle_frequencies_count():
    side = 16
    x = torch.arange(side).float()
    waves = {cycles: torch.cos(2 * np.pi * cycles * x / side).expand(1, 1, 1, side, side) for cycles in (1, 4, 7)}
    weight, base = torch.ones(1, 1), waves[4]
    assert middle_likeness(base, base, weight) == pytest.approx([1.0], abs=1e-5)
    assert middle_likeness(base + 5 * waves[1] + 5 * waves[7] + 9, base, weight) == pytest.approx([1.0], abs=1e-4)  # 1/16 and 7/16 cycles a pixel lie outside
    assert middle_likeness(2 * base, base, weight) == pytest.approx([0.8], abs=1e-5)  # 2 * 2 / (4 + 1)
    assert middle_likeness(-base, base, weight) == pytest.approx([-1.0], abs=1e-5)
    two = torch.cat([base, -base], 1)
    assert middle_likeness(two, base.expand(1, 2, -1, -1, -1), torch.tensor([[1.0, 0.0]])) == pytest.approx([1.0], abs=1e-5)


def test_a_known_velocity_has_no_error_and_the_norm_is_the_noise_found():
    batch = clips(2, 4)
    noise, t = torch.ones_like(batch["data"]), torch.full((4,), 0.25)
    assert flow_error(lambda x, t, c: noise - batch["data"], batch, t, noise).abs().max() < 1e-12
    assert flow_error(lambda x, t, c: noise - batch["data"] + 2, batch, t, noise) == pytest.approx([4] * 4)
    assert flow_norm(lambda x, t, c: -batch["data"], batch, t, noise).abs().max() < 1e-12  # (1 - t) data holds no noise
    assert flow_norm(lambda x, t, c: (3 - x) / (1 - t).view(-1, 1, 1, 1, 1), batch, t, noise) == pytest.approx([9] * 4)
    batch["weight"][:, 1:] = 0
    wrong = torch.zeros_like(noise)
    wrong[:, 1:] = 7
    assert flow_error(lambda x, t, c: noise - batch["data"] + wrong, batch, t, noise).abs().max() < 1e-12  # frames that do not count
    assert torch.allclose(interpolate(batch["data"], noise, t), 0.75 * batch["data"] + 0.25)


def test_folded_guidance_is_taken_out():
    class Guided:
        """Says 2 where nothing is told, and 2 + 3 (5 - 2) where a label is."""

        config = DenoiserConfig(guidance=3.0)

        def __call__(self, x, t, condition):
            return torch.where(condition.labels[:, 0].isnan(), 2.0, 11.0).view(-1, 1, 1, 1, 1) + 0 * x

    batch, t = clips(2, 4), torch.full((4,), 0.25)
    assert flow_error(Guided(), batch, t, batch["data"] + 4) == pytest.approx([1] * 4)  # the velocity is 4, and 5 is said without guidance


def test_a_probe_goes_by_the_counter():
    model, side = Memoriser(clips(0)["data"]), clips(1)
    found = [probe(model, flow_error, lambda samples: {k: v[samples] for k, v in side.items()}, 10, (0.3,), seed=1, repeats=2, size=size) for size in (1, 4, 16)]
    assert np.allclose(found[0], found[1], rtol=1e-5) and np.allclose(found[0], found[2], rtol=1e-5)
    assert (found[0] < 0).all() and not np.allclose(found[0], probe(model, flow_error, lambda samples: {k: v[samples] for k, v in side.items()}, 10, (0.3,), seed=2))


# --- the classifier ---


def test_the_interval_of_a_classifier_holds_a_half_where_there_is_nothing_to_learn():
    """Folds that learn from each other's patients vary twice as much as plain scores; the first version's interval held 0.5 in 81 to 87 of 100 cases."""
    rng, held, found = np.random.default_rng(9), [], []
    for seed in range(40):
        sides = rng.standard_normal((90, 8)), rng.standard_normal((60, 8))
        found.append(excess_variance(*sides, seed, deals=20))
        auc = membership("classifier", *cross_fitted(*sides, seed), excess=found[-1]).auc
        held.append(auc.low <= 0.5 <= auc.high)
    assert np.mean(held) >= 0.93 and min(found) >= 1 and 1.5 < np.mean(found) < 3


def test_excess_narrows_nothing_but_the_number_of_patients():
    members, strangers = np.arange(40.0), np.arange(30.0) - 5
    once, twice = (membership("x", members, strangers, excess=excess).auc for excess in (1.0, 2.0))
    assert once.value == twice.value and twice[1:] == auc_interval(once.value, 20, 15)[1:] and twice.low < once.low


def test_a_classifier_finds_what_no_feature_tells_alone():
    rng = np.random.default_rng(6)
    common, lift = rng.standard_normal((2, 300)), 0.8
    sides = [np.stack([shared, shared + sign * lift / 2 + 0.3 * rng.standard_normal(300)], 1) for shared, sign in zip(common, (1, -1), strict=True)]
    assert max(mann_whitney(sides[0][:, k], sides[1][:, k]) for k in range(2)) < 0.75
    assert mann_whitney(*cross_fitted(*sides, seed=0)) > 0.9


def test_a_classifier_does_not_find_what_is_not_there():
    rng = np.random.default_rng(7)
    found = [mann_whitney(*cross_fitted(rng.standard_normal((100, 6)), rng.standard_normal((100, 6)), seed=k)) for k in range(40)]
    assert abs(np.mean(found) - 0.5) < 0.03 and max(found) < 0.65


def test_a_classifier_does_not_mind_units():
    rng = np.random.default_rng(8)
    members, strangers = rng.standard_normal((60, 3)) + 0.5, rng.standard_normal((50, 3))
    plain = cross_fitted(members, strangers, seed=0)
    other = cross_fitted(members * [1e6, 1, 1e-6] + [0, 5e3, 1], strangers * [1e6, 1, 1e-6] + [0, 5e3, 1], seed=0)
    assert np.allclose(plain[0], other[0], atol=1e-3) and np.allclose(plain[1], other[1], atol=1e-3)
