"""Renders templates as Home Assistant does: Jinja2 in its sandbox, with the functions it adds.

In: a JSON list of {"template": ..., "value": ..., "received": true if value is a message}.
Out: a JSON list of texts. An unknown name, which Home Assistant takes for nothing, is an error.
"""

import json
import sys
from datetime import datetime, timedelta, timezone

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
environment.globals.update(timedelta=timedelta, utcnow=lambda: datetime.now(timezone.utc))


def render(job):
    names = {"value": job["value"]}
    if job["received"]:
        names["value_json"] = json.loads(job["value"])
    return environment.from_string(job["template"]).render(names).strip()


json.dump([render(job) for job in json.load(sys.stdin)], sys.stdout)
