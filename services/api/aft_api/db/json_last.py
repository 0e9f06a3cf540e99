"""The last item of a JSON list, found by the database: the rest of the list need not be sent."""

from typing import Any

from sqlalchemy import Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class json_last(FunctionElement[str]):  # noqa: N801 - named as SQL's functions are
    """`json_last(column)`: text of the last item of the JSON list in `column`; NULL when there is none."""

    name = "json_last"
    type = Text()
    inherit_cache = True


@compiles(json_last, "postgresql")
def _on_postgres(element: json_last, compiler: SQLCompiler, **keywords: Any) -> str:
    return f"(({compiler.process(element.clauses, **keywords)}) -> -1)::text"


@compiles(json_last, "sqlite")
def _on_sqlite(element: json_last, compiler: SQLCompiler, **keywords: Any) -> str:
    return f"json_extract({compiler.process(element.clauses, **keywords)}, '$[#-1]')"
