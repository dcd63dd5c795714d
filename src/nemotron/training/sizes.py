"""Model sizes that the CPU-capable engine builds from nothing; every stage means the same by a name.

They are Nemotron-H: Mamba-2 (M), mixture of experts (E) and attention (*) layers in one stack. The sizes that are
trained for real come from Megatron-Bridge's recipes.
"""

from __future__ import annotations

from dataclasses import dataclass

from nemo_runspec.errors import ConfigError, guess

# What the letters stand for in `transformers`.
LAYERS = {"M": "linear_attention", "E": "moe", "*": "full_attention"}


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The shape of a Nemotron-H model.

    Args:
        layers: One letter a layer: M, E or *.
        hidden: Width of the residual stream.
        attention_heads: Query heads.
        key_value_heads: Key and value heads.
        head_width: Width of an attention head.
        mamba_heads: Heads of a Mamba-2 layer.
        mamba_head_width: Width of one of them.
        mamba_state: State size of a Mamba-2 layer.
        mamba_chunk: Tokens that a Mamba-2 layer scans at once; short chunks are fast without its CUDA kernels.
        experts: Experts of a mixture-of-experts layer.
        experts_per_token: How many of them see a token.
        expert_width: Inner width of an expert, and of the one that sees every token.
        context: Longest sequence that is planned for, in tokens.
    """

    layers: str
    hidden: int
    attention_heads: int
    key_value_heads: int
    head_width: int
    mamba_heads: int
    mamba_head_width: int
    mamba_state: int
    mamba_chunk: int
    experts: int
    experts_per_token: int
    expert_width: int
    context: int


SIZES = {
    # 2.1 M parameters with a vocabulary of 4,096: learns to write small functions in minutes on two CPU cores.
    "tiny": ModelSize("ME*EM*E", 128, 4, 2, 32, 4, 64, 16, 32, 4, 2, 192, 1024),
    # The same layers, as small as they can be: for tests of everything but learning.
    "micro": ModelSize("ME*", 32, 2, 1, 16, 2, 16, 8, 16, 2, 1, 32, 512),
}


def model_size(name: str) -> ModelSize:
    """Look up a size.

    Args:
        name: A row of `SIZES`.

    Raises:
        ConfigError: There is none of this name.
    """
    if name not in SIZES:
        message = f"there is no model size '{name}'"
        raise ConfigError(message, remedy=guess(name, SIZES, what="sizes"))
    return SIZES[name]
