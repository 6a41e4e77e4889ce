"""The file that `openrouter-free init` writes: every setting with what it means, all of it commented out."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from typing import Any

from langchain_openrouter_free.configuration.schema import SECRETS, defaults, told

_WIDTH = 100
# What is written where the default is nothing, or is shown better by an example.
_EXAMPLES: Mapping[str, str] = {
    "models": '["z-ai/glm-5.2:free", "auto"]',
    "allow_paid": "true",
    "paid_models": '["your/paid-id"]',
    "budget": '"$0.01/call, $0.50/day"',
    "account_budget": '"$5/month"',
    "paid_rps": "2",
    "credit_fee": "{ percent = 5.5, least = 0.8 }",
    "base_url": '"https://openrouter.ai/api/v1"',
    "timeouts": "{ connect = 5, first_token = 45, stall = 30, attempt = 300, call = 600 }",
    "timeout": "300",
    "hedge_after": '"p95"',
    "limits": "{ per_minute = 20, per_day = 1000 }",
    "daily_share": '"30%"',
    "max_retries": "5",
    "state": '"memory"',
    "project": '"my-project"',
    "temperature": "0.2",
    "top_p": "0.9",
    "top_k": "40",
    "min_p": "0.05",
    "top_a": "0.1",
    "frequency_penalty": "0.0",
    "presence_penalty": "0.0",
    "repetition_penalty": "1.0",
    "max_tokens": "2000",
    "seed": "1",
    "stop": '["END"]',
    "logprobs": "false",
    "top_logprobs": "5",
    "logit_bias": '{ "50256" = -100 }',
    "user": '"somebody"',
    "reasoning": '{ effort = "low" }',
    "provider": '{ data_collection = "deny" }',
    "extra_body": '{ verbosity = "low" }',
    "default_headers": '{ X-Request-Source = "docs" }',
    "app_url": '"https://example.org"',
    "app_title": '"Example"',
}


def template(table: str = "") -> str:
    """Return the text of the file; `table` is where it stands in a file that has others in it as well."""
    lines = [
        *_comment("Settings of langchain-openrouter-free. What is left commented out keeps its default."),
        *_comment(
            "Arguments, the environment (OPENROUTER_FREE_*) and your own file count more than this one; "
            "`openrouter-free config` shows what counts. The key belongs into OPENROUTER_API_KEY, not in here."
        ),
        "",
        *([f"[{table}]", ""] if table else []),
    ]
    described = told()
    for name, default in defaults().items():
        if name not in SECRETS:
            lines += [*_comment(described.get(name, "")), _line(name, default), ""]
    prefix = f"{table}." if table else ""
    lines += [
        *_comment(f"A profile lies over the settings above: {_CHOOSE}"),
        f"# [{prefix}profiles.batch]",
        "# max_wait = 600",
        '# strategy = "fastest"',
        "",
    ]
    return "\n".join(lines)


_CHOOSE = 'ChatOpenRouterFree.from_profile("batch"), or OPENROUTER_FREE_PROFILE=batch.'


def _comment(text: str) -> list[str]:
    # Two marks: a line of words never looks like a setting.
    return [f"## {line}" for line in textwrap.wrap(text, _WIDTH)]


def _line(name: str, default: Any) -> str:
    """Return how a setting is written: with an example, else its default, if that can be written."""
    example = _EXAMPLES.get(name) or (None if default is None else json.dumps(default))
    return f"## {name}: not set" if example is None else f"# {name} = {example}"
