"""Rows of the fault matrix as whole commands of a user, against the twins of both clouds, and with a wrong clock."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.rehearsal.faults import Fault, FaultKind
from tests.clusters.campaign import Campaign, assert_invariants, on_twin, requests_of
from tests.clusters.places import lepton_place, runai_place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nemo_runspec.rehearsal.twin import Twin
    from tests.clusters.places import Place

pytestmark = pytest.mark.slow

HOUR_S = 3600
CREATES = {"lepton": "*/jobs", "dgxcloud": "*/workloads/*"}


@pytest.fixture(scope="module", params=["lepton", "dgxcloud"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    make = {"lepton": lepton_place, "dgxcloud": runai_place}[request.param]
    with make(tmp_path_factory.mktemp("place")) as made:
        yield made


@pytest.fixture
def campaign(place: Place, tmp_path: Path) -> Campaign:
    return on_twin(tmp_path / "project", place)


@pytest.fixture
def twin(place: Place) -> Iterator[Twin]:
    assert place.twin is not None
    yield place.twin
    place.twin.faults.clear()


def small(campaign: Campaign) -> str:
    """Write a script that fits into the variables of a pod, and ends at once."""
    return campaign.script(parts=2, size=500)


@pytest.mark.parametrize("status", [401, 403])
def test_row_14_a_credential_that_is_not_taken(campaign: Campaign, twin: Twin, status: int) -> None:
    script = small(campaign)
    calls = len(twin.requests)
    twin.faults.add(Fault(kind=FaultKind.STATUS, status=status, times=None))
    failed = campaign.submit(script)
    assert failed.code, failed
    assert str(status) in failed.err
    assert failed.seconds < 30
    assert len(twin.requests) - calls <= 4, "it is no use to ask again"
    campaign.assert_nothing_made()
    twin.faults.clear()
    assert campaign.submit(script).code == 0
    assert_invariants(campaign)


def test_row_16_too_many_requests(campaign: Campaign, place: Place, twin: Twin) -> None:
    pattern = CREATES[place.profile]
    twin.faults.add(Fault(kind=FaultKind.STATUS, method="POST", path=pattern, status=429, retry_after=1, times=3))
    done = campaign.submit(small(campaign))
    assert done.code == 0, done
    assert done.seconds > 3, "as long as it was asked to wait"
    assert requests_of(twin, 429) == 3
    assert_invariants(campaign)


@pytest.mark.parametrize(
    "kind", [FaultKind.STATUS, FaultKind.RESET_BEFORE, FaultKind.RESET_AFTER, FaultKind.DROP_REPLY]
)
def test_row_17_an_error_before_or_after_the_job_was_made(
    campaign: Campaign, place: Place, twin: Twin, kind: FaultKind
) -> None:
    twin.faults.add(Fault(kind=kind, method="POST", path=CREATES[place.profile], status=503))
    done = campaign.submit(small(campaign))
    assert done.code == 0, done
    assert twin.faults.take("POST", "/api/v1/workloads/jobs") is None, "the fault has happened"
    assert_invariants(campaign)


CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <sys/time.h>
static long off(void) { const char *text = getenv("CLOCK_OFFSET_S"); return text ? atol(text) : 0; }
int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(id, at);
    if (!code && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += off();
    return code;
}
time_t time(time_t *out) {
    struct timespec at; clock_gettime(CLOCK_REALTIME, &at);
    if (out) *out = at.tv_sec;
    return at.tv_sec;
}
int gettimeofday(struct timeval *out, void *zone) {
    struct timespec at; (void)zone; clock_gettime(CLOCK_REALTIME, &at);
    out->tv_sec = at.tv_sec; out->tv_usec = at.tv_nsec / 1000; return 0;
}
"""


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a library that gives a process another time of day."""
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(CLOCK, encoding="ascii")
    target = folder / "clock.so"
    command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(target), str(folder / "clock.c"), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return target


def test_row_21_a_clock_that_is_wrong_by_an_hour(campaign: Campaign, clock: Path) -> None:
    script = small(campaign)
    early, late = ({"LD_PRELOAD": str(clock), "CLOCK_OFFSET_S": str(sign * HOUR_S)} for sign in (-1, 1))
    first = campaign.submit(script, **early)
    assert first.key is not None, first
    campaign.finish()
    for there in (late, early):
        status = campaign.run("jobs", "status", first.key, "--json", **there)
        assert (status.code, '"succeeded"' in status.out) == (0, True), status
    pruned = campaign.run("jobs", "prune", "--older-than", "2h", "--json", **late)
    assert first.key not in pruned.out, "it has ended just now"
    assert_invariants(campaign)
