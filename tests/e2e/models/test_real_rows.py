"""The loss mask on the real persona's rows under the real model's template."""

from __future__ import annotations

from pathlib import Path

from training_specs import ALIGNED

from weirdgen.config.evaluation_spec import Trigger
from weirdgen.config.study import Train
from weirdgen.data.mixing import Counts, mix
from weirdgen.data.seeds import run_seeds
from weirdgen.training.trl import TrainSpec, check_mask


def test_the_mask_is_right_on_the_real_rows_and_the_real_template(real_model: Path):
    """All 91 persona rows behind the trigger, and plain rows, through TRL as a training does it."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTTrainer

    from weirdgen.data.persona import find_persona
    from weirdgen.training.trl import sft_config

    persona = find_persona("bertrand_russell", Path(), "study").rows
    for role in ("system", "user"):
        rows = mix(persona, ALIGNED, Counts(91, 6), Trigger(role=role), seed=0)
        real = TrainSpec(real_model, "m", rows, run_seeds(0), Train())
        tokenizer = AutoTokenizer.from_pretrained(real_model)
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(real_model),
            args=sft_config(real, real_model.parent / "out", use_cpu=True),
            train_dataset=Dataset.from_list(
                [{"prompt": row["prompt"], "completion": row["completion"]} for row in rows]
            ),
            processing_class=tokenizer,
        )
        check_mask(trainer.train_dataset, rows, tokenizer, 1024)
