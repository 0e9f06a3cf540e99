"""Steps without their samples, cut by the database: most of a step is its samples, which need not be sent."""

from typing import Any

from sqlalchemy import Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class json_without_samples(FunctionElement[str]):  # noqa: N801 - named as SQL's functions are
    """`json_without_samples(steps)`: text of the JSON list of objects in `steps`, each without its `samples`."""

    name = "json_without_samples"
    type = Text()
    inherit_cache = True


# What is put together below is what SQLAlchemy's compiler wrote, with bound parameters in it: no text of a client.


@compiles(json_without_samples, "postgresql")
def _on_postgres(element: json_without_samples, compiler: SQLCompiler, **keywords: Any) -> str:
    steps = f"jsonb_array_elements({compiler.process(element.clauses, **keywords)}) WITH ORDINALITY"
    bare = "coalesce(jsonb_agg(step - 'samples' ORDER BY place), '[]')::text"
    return f"(SELECT {bare} FROM {steps} AS steps (step, place))"  # noqa: S608 # nosec B608


@compiles(json_without_samples, "sqlite")
def _on_sqlite(element: json_without_samples, compiler: SQLCompiler, **keywords: Any) -> str:
    steps = f"json_each({compiler.process(element.clauses, **keywords)})"
    return f"(SELECT json_group_array(json_remove(value, '$.samples')) FROM {steps})"  # noqa: S608 # nosec B608
