"""Nemotron-H models: built from a size, loaded from a folder, saved for `AutoModelForCausalLM`."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, NemotronHConfig, NemotronHForCausalLM
from transformers.utils import logging

from nemo_runspec.errors import DataError, Location
from nemotron.data_prep.tokenizer import END_OF_TURN, load_tokenizer
from nemotron.training.sizes import LAYERS

if TYPE_CHECKING:
    from nemotron.data_prep.tokenizer import TextTokenizer
    from nemotron.training.sizes import ModelSize


def prepare_process() -> None:
    """Give this process its share of the CPU cores, and keep the libraries' notes from the user.

    torchrun starts several processes with one thread each, and one process with all; here every process gets an
    equal share. The libraries warn of CUDA kernels that a CPU has no use for, and draw bars beside our own lines.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, cores // processes))
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # the library has types in part
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # as above
    warnings.simplefilter("ignore")
    # Its threads and the training's would share the same cores, and a fork would warn.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def build_model(size: ModelSize, tokenizer: TextTokenizer, seed: int) -> NemotronHForCausalLM:
    """Make a model with fresh weights.

    Args:
        size: Its shape.
        tokenizer: What its vocabulary is.
        seed: Decides the weights.
    """
    end_of_turn = tokenizer.backend.token_to_id(END_OF_TURN)
    config = NemotronHConfig(
        vocab_size=tokenizer.vocabulary,
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
        max_position_embeddings=size.context,
        bos_token_id=None,
        eos_token_id=tokenizer.end_of_text,
        pad_token_id=tokenizer.end_of_text,
    )
    torch.manual_seed(seed)
    model = NemotronHForCausalLM(config)
    # A document and a turn end with different tokens; an answer is over at either.
    ends = [tokenizer.end_of_text] if end_of_turn is None else [tokenizer.end_of_text, end_of_turn]
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]  # as above
        eos_token_id=ends, pad_token_id=tokenizer.end_of_text
    )
    return model


def load_model(path: str) -> Any:  # noqa: ANN401 the library types it as Any
    """Load a model from a folder or the Hub, in 32-bit floats: mixed precision is the trainer's business.

    Args:
        path: What `save_model` wrote, or a Hub id.

    Raises:
        DataError: There is no model.
    """
    return _load(path, dtype=torch.float32)


def load_for_evaluation(path: str) -> Any:  # noqa: ANN401 as above
    """Load a model that is only to be measured: spread over the GPUs where there are any, in bfloat16 if they have it.

    Args:
        path: What `save_model` wrote, an exported Hugging Face folder, or a Hub id.

    Raises:
        DataError: There is no model.
    """
    dtype = torch.bfloat16 if in_bfloat16() else torch.float32
    return _load(path, dtype=dtype, device_map="auto") if on_gpu() else _load(path, dtype=dtype)


def _load(path: str, **how: Any) -> Any:  # noqa: ANN401 as above
    try:
        return AutoModelForCausalLM.from_pretrained(path, **how)
    except (OSError, ValueError) as error:
        message = f"no model can be loaded: {str(error).splitlines()[0]}"
        raise DataError(
            message, where=Location(Path(path)), remedy="Correct the config entry that names it."
        ) from error


def load_chat_tokenizer(path: str) -> Any:  # noqa: ANN401 the library types it as Any
    """Load a model folder's tokenizer as `transformers` uses it, padding on the left as generation needs it.

    Args:
        path: A folder with a tokenizer, or a Hub id.
    """
    return AutoTokenizer.from_pretrained(path, padding_side="left")


def save_model(model: Any, tokenizer_folder: str, folder: Path) -> Path:  # noqa: ANN401 the library types it as Any
    """Save a model as safetensors, with its tokenizer beside it.

    Args:
        model: The model.
        tokenizer_folder: Where its tokenizer is.
        folder: Where both go; what is there is replaced.

    Returns:
        The folder.
    """
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    load_tokenizer(tokenizer_folder).copy_to(folder)
    return folder


def on_gpu() -> bool:
    """Say whether this process works on a GPU."""
    return bool(torch.cuda.is_available())


def in_bfloat16() -> bool:
    """Say whether to compute in bfloat16: a CPU, and a GPU that only emulates it, are faster in 32-bit floats."""
    return on_gpu() and bool(torch.cuda.is_bf16_supported(including_emulation=False))


def count_parameters(model: Any) -> int:  # noqa: ANN401 the library types it as Any
    """Count a model's parameters."""
    return sum(int(parameter.numel()) for parameter in model.parameters())
