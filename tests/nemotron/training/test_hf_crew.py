"""The workers of RL, on a Ray of the tests' own."""

from __future__ import annotations

import math
import re
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import ray
import torch
from transformers import GenerationConfig, NemotronHConfig, NemotronHForCausalLM

from nemo_runspec.errors import JobFailedError
from nemotron.training.hf import crew as crews
from nemotron.training.hf.crew import Crew, gpu_share
from nemotron.training.hf.drawing import Draw, Drawer, seed_of, slices
from nemotron.training.rewards import score_function
from nemotron.training.sizes import LAYERS, SIZES

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

SEED = 5
END = 9
SAMPLING = GenerationConfig(  # type: ignore[no-untyped-call]  # the library has types in part
    max_new_tokens=8, do_sample=True, pad_token_id=0, eos_token_id=[0, END], temperature=1.0, top_k=0
)
# Of different lengths, so that there is padding, and of a number that two workers do not share evenly.
PROMPTS = [[number % 7 + 1] * (2 + number % 3) for number in range(9)]


@pytest.fixture(scope="module", autouse=True)
def own_ray() -> Iterator[None]:
    """Start Ray once, on a machine that has too few CPUs for any worker to take one."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def model() -> Any:  # noqa: ANN401 the library types it as Any
    size = SIZES["micro"]
    torch.manual_seed(1)
    config = NemotronHConfig(
        vocab_size=64,
        layers_block_type=[LAYERS[letter] for letter in size.layers],
        hidden_size=size.hidden,
        num_attention_heads=size.attention_heads,
        num_key_value_heads=size.key_value_heads,
        head_dim=size.head_width,
        mamba_num_heads=size.mamba_heads,
        mamba_head_dim=size.mamba_head_width,
        ssm_state_size=size.mamba_state,
        n_groups=1,
        chunk_size=size.mamba_chunk,
        n_routed_experts=size.experts,
        num_experts_per_tok=size.experts_per_token,
        moe_intermediate_size=size.expert_width,
        moe_shared_expert_intermediate_size=size.expert_width,
        intermediate_size=size.expert_width,
    )
    return NemotronHForCausalLM(config)


@pytest.fixture(scope="module")
def crew() -> Crew:
    made = Crew(ray, 2, SEED)
    assert made.wait() == "2 generation workers and 1 reward worker on 1 node"
    return made


def drawn_here(model: Any, generation: int, parts: int) -> list[list[int]]:  # noqa: ANN401 as above
    """Draw in this process what the workers should."""
    threads = torch.get_num_threads()
    drawer = Drawer("cpu")
    answers = [
        drawer.draw(Draw(model.config, SAMPLING, PROMPTS[rows], seed_of(SEED, generation, part)), model.state_dict())
        for part, rows in enumerate(slices(len(PROMPTS), parts))
    ]
    torch.set_num_threads(threads)
    return [answer for part in answers for answer in part]


def test_answers_depend_on_weights_generation_and_part_alone(crew: Crew, model: Any) -> None:  # noqa: ANN401 as above
    first = crew.draw(model, SAMPLING, PROMPTS, 3)
    assert first == drawn_here(model, 3, 2)
    assert len(first) == len(PROMPTS)
    assert all(1 <= len(answer) <= 8 and END not in answer[:-1] for answer in first)
    assert crew.draw(model, SAMPLING, PROMPTS, 4) != first
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        model.lm_head.weight.mul_(-3)
    assert crew.draw(model, SAMPLING, PROMPTS, 3) != first
    model.load_state_dict(before)
    assert crew.draw(model, SAMPLING, PROMPTS, 3) == first


def test_a_batch_smaller_than_the_crew(crew: Crew, model: Any) -> None:  # noqa: ANN401 as above
    assert len(crew.draw(model, SAMPLING, PROMPTS[:1], 1)) == 1


def test_rewards_are_those_of_the_function(crew: Crew) -> None:
    answers = ["def f(a): pass", "((", "def g(b): return b"]
    names, arguments = ["f", "f", "h"], [["a"], ["a"], ["b"]]
    expected = [score_function(*triple).reward for triple in zip(answers, names, arguments, strict=True)]
    assert crew.score(answers, names, arguments) == expected


def kill_workers() -> None:
    """Kill all workers of this process's Ray."""
    killed = 0
    for one in psutil.Process().children(recursive=True):
        # One of the test before may have ended, and not be waited for yet.
        with suppress(psutil.NoSuchProcess):
            if re.match(r"ray::(Drawer|Scorer)", "".join(one.cmdline())):
                one.send_signal(signal.SIGKILL)
                killed += 1
    assert killed


def test_a_killed_worker_is_started_again_and_draws_the_same(crew: Crew, model: Any) -> None:  # noqa: ANN401 as above
    expected = crew.draw(model, SAMPLING, PROMPTS, 7)
    kill_workers()
    assert crew.draw(model, SAMPLING, PROMPTS, 7) == expected
    assert crew.score(["x"], ["f"], [["a"]]) == [score_function("x", "f", ["a"]).reward]


def test_a_worker_that_dies_for_good_fails_the_run(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401 as above
    monkeypatch.setattr(crews, "RETRIES", 0)
    crew = Crew(ray, 1, SEED)
    monkeypatch.setattr(crews, "START_S", 0.001)
    with pytest.raises(JobFailedError, match="Ray has not started all workers of the training"):
        crew.wait()
    monkeypatch.setattr(crews, "START_S", 600)
    assert crew.wait() == "1 generation worker and 1 reward worker on 1 node"
    kill_workers()
    with pytest.raises(JobFailedError, match="Ray lost a worker of the training 1 times") as raised:
        crew.draw(model, SAMPLING, PROMPTS, 1)
    assert "The last checkpoint is kept" in str(raised.value)


@pytest.mark.parametrize(
    ("free", "workers", "share"), [(0, 2, 0), (1, 1, 1), (1, 2, 0.5), (2, 2, 1), (8, 2, 1), (3, 4, 0.5)]
)
def test_workers_share_the_gpus_that_are_free(free: int, workers: int, share: float) -> None:
    assert math.isclose(gpu_share(free, workers), share)
