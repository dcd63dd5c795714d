from __future__ import annotations

import shlex

import nemo_run as run
import pytest

from nemo_runspec.errors import ProfileError
from nemo_runspec.executors.held_secrets import scripts_to_be_written, without_secrets
from tests.nemo_runspec.executors.clouds import lepton


def test_a_secret_is_left_to_the_environment_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary-hf")
    monkeypatch.setenv("LICENSE", "canary-license")
    env = {"A": "1", "HF_TOKEN": "canary-hf", "LICENSE": "canary-license"}
    assert without_secrets("x", env, ["LICENSE"]) == ({"A": "1"}, ("HF_TOKEN", "LICENSE"))
    assert without_secrets("x", {"LICENSE": "MIT"}, []) == ({"LICENSE": "MIT"}, ())
    monkeypatch.setenv("HF_TOKEN", "another")
    monkeypatch.delenv("LICENSE")
    with pytest.raises(ProfileError, match=r"^x holds the secret HF_TOKEN, LICENSE, which") as error:
        without_secrets("x", env, {"LICENSE"})
    assert "canary" not in str(error.value)
    assert error.value.remedy == "Set it in os.environ, and give its name in secrets=[...] of the executor."


def test_scripts_are_those_of_the_experiment_that_is_prepared() -> None:
    assert scripts_to_be_written(lepton()) == []
    with run.Experiment("held", enable_goodbye_message=False, skip_status_at_exit=True) as experiment:
        experiment.add(run.Script(inline="1"), executor=lepton(), name="one")
        experiment.add(run.Partial(shlex.quote, "x"), executor=lepton(), name="partial")
        group = [run.Script(inline="2"), run.Script(inline="3")]
        experiment.add(group, executor=lepton(retries=1), name="group")
        experiment.add(group, executor=[lepton(retries=2), lepton(retries=3)], name="each")
        given = scripts_to_be_written(experiment.jobs[1].executor)
        found = [(name, script.inline, executor.retries) for name, script, executor in given]
        assert scripts_to_be_written(lepton()) == []
    expected = [("one", "1", 0), ("group", "2", 1), ("group", "3", 1), ("each", "2", 2), ("each", "3", 3)]
    assert found == expected
