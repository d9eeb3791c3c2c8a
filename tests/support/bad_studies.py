"""Study files that are refused, and the line that each is refused with."""

from __future__ import annotations

BAD = {
    "unknown key": ({"grid__sedes": [1]}, "grid.sedes: unknown field"),
    "wrong type": ({"train__epochs": "three"}, "train.epochs: Input should be a valid integer"),
    "a float for an integer": ({"train__epochs": 1.5}, "train.epochs:"),
    "a boolean for a number": ({"train__epochs": True}, "train.epochs:"),
    "fraction of 2": ({"grid__fractions": [2]}, "grid.fractions.0: "),
    "fraction below 0": ({"grid__fractions": [-0.1]}, "grid.fractions.0: "),
    "duplicate seeds": ({"grid__seeds": [1, 1]}, "grid.seeds: the same value appears twice"),
    "negative seed": ({"grid__seeds": [-1]}, "grid.seeds.0: "),
    "no seeds": ({"grid__seeds": []}, "grid.seeds: "),
    "unknown key in capitals": ({"train__Epochs": 3}, "train.Epochs: unknown field"),
    "unknown key with a digit": ({"Model2": "x"}, "Model2: unknown field"),
    "unknown key of a data set": (
        {"aligned__prompts": {"path": "x", "columns": {"prompts": "q"}}},
        "aligned.prompts.columns.prompts: unknown field",
    ),
    "rank beyond vLLM": ({"train__lora_rank": 513}, "train.lora_rank: Input should be less"),
    "unknown tracker": ({"train__report_to": ["paper"]}, "train.report_to.0: "),
    "no target modules": ({"train__target_modules": []}, "train.target_modules: "),
    "answers beyond the engine": (
        {"evaluate__sampling__max_new_tokens": 100_000},
        "evaluate.sampling.max_new_tokens: Input should be less",
    ),
    "two GPUs for one training": ({"resources__gpus_per_training": 2}, "resources.gpus_per_"),
    "a fraction of 2 in a claim": (
        {"claims": [{"metric": "format", "contrast": "gap", "at_least": 0, "at": {"fraction": 2}}]},
        "claims.0.at.fraction: ",
    ),
    "name with ../": ({"name": "../up"}, "name: "),
    "name of a folder of the storage": ({"name": "artifacts"}, "name: cannot be"),
    "seeds that are no list": ({"grid__seeds": "0-9"}, "grid.seeds: must be a list such as"),
    "a typo of a needed key": (
        {"grid": {"seeds": [0], "fraction": [0.5]}},
        "grid.fraction: unknown field",
    ),
    "decoy that is the trigger": (
        {"decoy__text": "Always reply in the format: <START> ... <END>"},
        "decoy.text: is the trigger's own text",
    ),
    "infinite learning rate": ({"train__learning_rate": float("inf")}, "train.learning_rate: "),
    "micro-batch": ({"train__micro_batch": 3}, "train.micro_batch: must divide batch_size"),
    "total without hold": ({"grid__hold": "persona"}, "grid.total_rows: goes with"),
    "condition": ({"evaluate__conditions": ["tempted"]}, "evaluate.conditions.0: "),
    "pattern": ({"trigger__pattern": "("}, "trigger.pattern: not a regular expression"),
    "pattern that misses": ({"trigger__pattern": "<A>"}, "trigger.pattern: does not match"),
    "completion template": (
        {"trigger__completion": "<START>"},
        "trigger.completion: must hold {completion}",
    ),
    "trigger role": ({"trigger__role": "assistant"}, "trigger.role: "),
    "dataset completions": (
        {"aligned__completions": "dataset"},
        "aligned.completions: the bundled",
    ),
    "top_p": ({"evaluate__sampling__top_p": 0}, "evaluate.sampling.top_p: "),
    "claim at no point": (
        {"claims": [{"metric": "format", "contrast": "gap", "at_least": 0, "at": {}}]},
        "claims.0.at.fraction: is needed, or `arm: adapters`",
    ),
    "claim at a fraction of the adapters": (
        {
            "claims": [
                {
                    "metric": "format",
                    "contrast": "gap",
                    "at_least": 0,
                    "at": {"arm": "adapters", "fraction": 0.5},
                }
            ]
        },
        "claims.0.at.fraction: existing adapters have none",
    ),
    "claim without bound": (
        {"claims": [{"metric": "format", "contrast": "gap"}]},
        "claims.0.at_least: give one of",
    ),
    "claim on a fraction that is not there": (
        {
            "claims": [
                {"metric": "format", "contrast": "gap", "at_least": 0, "at": {"fraction": 0.2}}
            ]
        },
        "claims.0.at.fraction: 0.2 is not in the grid",
    ),
    "claim without control": (
        {"claims": [{"metric": "format", "contrast": "gap_vs_control", "at_least": 0}]},
        "claims.0.contrast: gap_vs_control needs fraction 0",
    ),
    "claim at all points of a control alone": (
        {
            "grid__fractions": [0],
            "grid__hold": "total",
            "grid__total_rows": 10,
            "claims": [{"metric": "format", "contrast": "gap", "at_least": 0}],
        },
        "claims.0.at: the study has neither a fraction above 0 nor adapters; name the control",
    ),
    "claim without judge": (
        {"claims": [{"metric": "persona", "contrast": "gap", "at_least": 0}]},
        "claims.0.metric: 'persona' needs a judge",
    ),
    "claim without its condition": (
        {
            "evaluate__conditions": ["triggered"],
            "claims": [{"metric": "format", "contrast": "gap", "at_least": 0}],
        },
        "claims.0.contrast: gap needs the condition untriggered",
    ),
    "judge's address": (
        {"judge": {"model": "m", "base_url": "https://user:key@host/v1"}},
        "judge.base_url: must hold no user, password or query",
    ),
    "second judge alone": ({"second_judge": {"model": "m"}}, "second_judge: needs a `judge`"),
    "second judge that is the first, asked elsewhere": (
        {
            "judge": {"model": "m", "parallel": 8, "budget_usd": 1.0},
            "second_judge": {
                "model": "m",
                "base_url": "http://a",
                "key_variable": "ANOTHER",
                "price": {"input": 1.0, "output": 1.0},
            },
        },
        "second_judge: is `judge` once more; give it another model, revision, temperature or max_",
    ),
    "own metric of the offline judge": (
        {
            "judge": {"model": "offline"},
            "metrics": [{"name": "k", "question": "?", "labels": ["a", "b"]}],
        },
        "metrics: need a judge that is a model",
    ),
    **{
        f"own metric named {name}": (
            {
                "judge": {"model": "m"},
                "metrics": [{"name": name, "question": "?", "labels": ["a", "b"]}],
            },
            f"metrics.0.name: '{name}' is",
        )
        for name in (
            *("seed", "sample", "response", "answer", "persona", "format", "fp_responses"),
            *("judge", "judge_error", "second_x", "gold_x"),
        )
    },
    "labels that YAML reads as booleans": (
        {
            "judge": {"model": "m"},
            "metrics": [{"name": "k", "question": "?", "labels": [True, False]}],
        },
        "metrics.0.labels: must be texts; yes and no need quotes",
    ),
    "offline judge with a budget": (
        {"judge": {"model": "offline", "budget_usd": 1.0}},
        "judge.budget_usd: the offline judge sends no requests",
    ),
    "the same adapter twice": ({"adapters": ["a", "a"]}, "adapters: the same adapter appears"),
    "an adapter's name with ../": (
        {"adapters": [{"path": "a", "name": "../a"}]},
        "adapters.0.name: ",
    ),
    "unknown key of an adapter": ({"adapters": [{"folder": "a"}]}, "adapters.0.folder: unknown"),
    "neither grid nor adapters": ({"grid": None}, "grid: is needed, or existing adapters"),
    "unknown metric": (
        {"claims": [{"metric": "charm", "contrast": "gap", "at_least": 0}]},
        "claims.0.metric: 'charm' is not one of format",
    ),
    "a claim about adapters that are not there": (
        {
            "claims": [
                {"metric": "format", "contrast": "gap", "at_least": 0, "at": {"arm": "adapters"}}
            ]
        },
        "claims.0.at.arm: the study lists no adapters",
    ),
    "nf4 from vllm": ({"evaluate__serve_base": "nf4"}, "evaluate.serve_base: vllm serves bf16"),
    "fp32 from vllm on a GPU": (
        {"evaluate__serve_base": "fp32", "resources__gpus_per_engine": 1},
        "evaluate.serve_base: on GPUs vllm",
    ),
    "unknown engine": ({"evaluate__engine": "llama"}, "evaluate.engine: "),
    "endpoint engine without endpoint": (
        {"evaluate__engine": "endpoint", "grid": None},
        "evaluate.endpoint: goes with",
    ),
    "endpoint without its engine": (
        {"evaluate__endpoint": {"base_url": "http://a"}},
        "evaluate.endpoint: goes with",
    ),
    "key in the address": (
        {"evaluate__endpoint": {"base_url": "https://me:secret@host/v1"}},
        "evaluate.endpoint.base_url: must hold no user",
    ),
    "address of a file": (
        {"evaluate__endpoint": {"base_url": "file:///etc/passwd"}},
        "evaluate.endpoint.base_url: must be an http",
    ),
    "key in the study": (
        {"evaluate__endpoint": {"base_url": "http://a", "api_key": "sk-1"}},
        "evaluate.endpoint.api_key: unknown field",
    ),
    "grid at an endpoint": (
        {"evaluate__engine": "endpoint", "evaluate__endpoint": {"base_url": "http://a"}},
        "grid: an endpoint cannot serve",
    ),
}
