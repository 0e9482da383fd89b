"""The accountant's figures are Opacus's own, and the noise that a budget asks for is the least."""

import pytest
from opacus.accountants import RDPAccountant

from echosynth.errors import InputError
from echosynth.privacy.budget import Spent, epsilon, noise_for


def test_epsilon_is_what_opacus_says_step_by_step():
    accountant = RDPAccountant()
    for noise, rate, steps in ((1.3, 0.08, 40), (0.9, 0.3, 25)):
        for _ in range(steps):
            accountant.step(noise_multiplier=noise, sample_rate=rate)
    assert epsilon([Spent(1.3, 0.08, 40), Spent(0.9, 0.3, 25)], 1e-4) == pytest.approx(accountant.get_epsilon(1e-4), abs=1e-6)
    assert epsilon([], 1e-4) == 0.0


def test_the_noise_keeps_to_the_budget_and_no_more_than_that():
    planned = [(0.3, 200), (0.08, 180)]
    noise = noise_for(8.0, 1e-4, planned)
    assert epsilon([Spent(noise, *one) for one in planned], 1e-4) <= 8.0 < epsilon([Spent(0.998 * noise, *one) for one in planned], 1e-4)


def test_what_is_spent_counts():
    spent = [Spent(4.0, 0.3, 100)]
    after = noise_for(8.0, 1e-4, [(0.1, 100)], spent)
    assert after > noise_for(8.0, 1e-4, [(0.1, 100)])
    assert epsilon([*spent, Spent(after, 0.1, 100)], 1e-4) <= 8.0


def test_a_budget_that_is_used_up_is_refused():
    with pytest.raises(InputError, match="used up"):
        noise_for(2.0, 1e-4, [(0.1, 100)], [Spent(0.5, 0.3, 200)])
