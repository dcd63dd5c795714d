from __future__ import annotations

from types import MappingProxyType

import pytest

from nemo_runspec.platforms.workload import NAME, PROJECT_ID, JobState, Request, body_digest, replace_text

BODY = {"name": NAME, "spec": {"env": [{"name": "A", "value": f"/jobs/{NAME}/x"}], "n": 2}, "projectId": PROJECT_ID}


def test_a_request_is_filled_in_everywhere_and_stays_as_it_is() -> None:
    request = Request("dgxcloud", "trainings", BODY)
    digest = request.digest
    filled = request.filled({NAME: "sft-ab12cd", PROJECT_ID: "33"})
    assert filled == {
        "name": "sft-ab12cd",
        "spec": {"env": [{"name": "A", "value": "/jobs/sft-ab12cd/x"}], "n": 2},
        "projectId": "33",
    }
    assert request.digest == digest
    assert Request("dgxcloud", "trainings", filled).digest != digest


def test_the_order_of_keys_is_no_difference_and_that_of_lists_is() -> None:
    assert body_digest({"a": 1, "b": 2}) == body_digest({"b": 2, "a": 1})
    assert body_digest({"a": [1, 2]}) != body_digest({"a": [2, 1]})


def test_a_body_and_its_frozen_copy_are_equal_when_sent() -> None:
    assert replace_text(MappingProxyType({"a": ({"b": "x"},)}), {"x": "y"}) == {"a": [{"b": "y"}]}


@pytest.mark.parametrize("state", list(JobState))
def test_only_an_end_is_final(state: JobState) -> None:
    ends = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.LOST}
    assert state.is_final is (state in ends)


def test_a_request_does_not_show_its_body() -> None:
    assert "secret-value" not in repr(Request("lepton", "job", {"a": "secret-value"}))
