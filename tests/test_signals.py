"""Signals: what is begun is ended before Ctrl-C is heard."""

import signal

import pytest

from srnc_manifold.process import deferring, interrupts_deferred


@pytest.fixture(autouse=True)
def usual():
    """As in a terminal; a shell in the background has Ctrl-C ignored."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def interrupted(block, done, error=None):
    """Ctrl-C in a block, which then takes down what it has heard, and may fail."""
    with block() as heard:
        signal.raise_signal(signal.SIGINT)
        done.append(list(heard))
        if error is not None:
            raise error


def test_ctrl_c_waits_for_the_end_of_a_block():
    done = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(interrupts_deferred, done)
    assert done == [[signal.SIGINT]]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_between_two_blocks_it_is_heard_at_once():
    done = []
    with deferring() as block:
        with block() as heard:
            done.append(list(heard))
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupted(block, done)
        with block() as heard:  # what was heard before is over
            done.append(list(heard))
    assert done == [[], [signal.SIGINT], []]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_in_a_block_comes_first():
    """As one that undoes what was begun because the signal was heard."""
    with pytest.raises(ZeroDivisionError):
        interrupted(interrupts_deferred, [], ZeroDivisionError())


def test_a_signal_that_ends_the_process_at_once_still_does():
    with interrupts_deferred():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
