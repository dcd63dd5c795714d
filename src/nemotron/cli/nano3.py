"""Nemotron 3 Nano: one row per command."""

from __future__ import annotations

from nemotron.cli.family import Family, Row

# A data preparation takes the first records of each data set.
SAMPLE = "--sample 1000"

FAMILY = Family(
    name="nano3",
    title="Nemotron 3 Nano",
    rows=(
        Row(
            "data prep pretrain", "pretrain/data_prep.py", "Tokenise text into Megatron .bin/.idx and a blend.", SAMPLE
        ),
        Row("pretrain", "pretrain/train.py", "Pretrain on the tokenised blend."),
        Row("data prep sft", "sft/data_prep.py", "Turn conversations into packed Parquet with a loss mask.", SAMPLE),
        Row("sft", "sft/train.py", "Fine-tune the pretrained model on conversations."),
        Row("data prep rl", "rl/data_prep.py", "Split prompts for reinforcement learning.", SAMPLE),
        Row("rl", "rl/train.py", "Train the fine-tuned model with GRPO on a verifiable reward."),
        Row("eval", "eval/evaluate.py", "Measure held-out loss, perplexity and reward, before and after RL."),
    ),
)

app = FAMILY.app()
