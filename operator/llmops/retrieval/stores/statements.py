"""What PostgreSQL is asked, as statements. Pure. Nothing that a user wrote is part of a statement's text: names are
quoted, and values travel beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import orjson
from psycopg import sql
from psycopg.types.json import Jsonb

from llmops.api.filters import POSITIVE, Test, Tree
from llmops.api.grammar import parse
from llmops.retrieval.passage import Passage, kept_text
from llmops.retrieval.stores.base import PAGE, TAKES, Asked, Restriction, Unfit
from llmops.retrieval.stores.tenants import Tenant, marked

Statement = LiteralString | sql.Composed

OPERATORS = {"Cosine": ("<=>", "vector_cosine_ops"), "L2": ("<->", "vector_l2_ops"), "IP": ("<#>", "vector_ip_ops")}
METHODS = {
    "HNSW": ("hnsw", {"M": "m", "efConstruction": "ef_construction"}),
    "IVF_FLAT": ("ivfflat", {"nlist": "lists"}),
    "FLAT": ("", {}),
}
"""The access method, and its names for an index's parameters."""
WIDEST = {"HNSW": 2000, "IVF_FLAT": 2000, "FLAT": 16_000}
MOST_EF = TAKES["PgVector"]["ef"]  # hnsw.ef_search takes no more; a scan that has not found enough goes on by itself

OURS = """
SELECT pg_advisory_xact_lock(hashtext('llmops'));
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE IF NOT EXISTS llmops_generations (
  collection text COLLATE "C" PRIMARY KEY, told jsonb NOT NULL, made jsonb NOT NULL);
CREATE TABLE IF NOT EXISTS llmops_aliases (
  alias text COLLATE "C" PRIMARY KEY, collection text COLLATE "C" NOT NULL REFERENCES llmops_generations);
"""  # the lock: two Jobs that are the first at the same moment
VERSION = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
GENERATIONS = "SELECT collection, told FROM llmops_generations WHERE starts_with(collection, %s)"
ACTIVE = "SELECT collection, told FROM llmops_aliases JOIN llmops_generations USING (collection) WHERE alias = %s"
TOLD = "SELECT told FROM llmops_generations WHERE collection = %s"
MADE = "SELECT made FROM llmops_generations WHERE collection = %s"
BEGIN = "INSERT INTO llmops_generations (collection, told, made) VALUES (%s, %s, %s)"
TELL = "UPDATE llmops_generations SET told = %s WHERE collection = %s"
FORGET = "DELETE FROM llmops_generations WHERE collection = %s"
POINT = """
INSERT INTO llmops_aliases (alias, collection) VALUES (%s, %s)
ON CONFLICT (alias) DO UPDATE SET collection = excluded.collection
"""
SETTINGS = """
SELECT set_config('hnsw.ef_search', %s, true), set_config('hnsw.iterative_scan', 'strict_order', true),
  set_config('ivfflat.probes', %s, true), set_config('ivfflat.iterative_scan', 'relaxed_order', true),
  set_config('statement_timeout', %s, true)
"""
EXACTLY = "SELECT set_config('enable_indexscan', 'off', true)"


def settings(asked: Asked) -> tuple[str, str, str]:
    """For SETTINGS."""
    ef = min(max(asked.search.get("ef", 40), asked.top_k), MOST_EF)
    return str(ef), str(asked.search.get("nprobe", 1)), str(int(asked.seconds * 1000))


def _named(collection: str) -> sql.Identifier:
    """Its table. PostgreSQL cuts names at 63 bytes without a word; the hash keeps long ones apart."""
    mark = hashlib.sha256(collection.encode()).hexdigest()[:12]
    return sql.Identifier(f"{collection.encode()[:50].decode(errors='ignore')}_{mark}")


def _index_named(collection: str) -> sql.Identifier:
    return sql.Identifier(f"llmops_{hashlib.sha256(collection.encode()).hexdigest()[:40]}")


def _tenants_named(collection: str) -> sql.Identifier:
    return sql.Identifier(f"llmops_t_{hashlib.sha256(collection.encode()).hexdigest()[:40]}")


def table(collection: str, dimensions: int, tenants: bool = False) -> Statement:
    """`tenants`: with a last column that has whose each row is."""
    return sql.SQL(
        'CREATE TABLE {} (id text COLLATE "C" PRIMARY KEY, document text COLLATE "C" NOT NULL, '
        'source text COLLATE "C" NOT NULL, hash text COLLATE "C" NOT NULL, text text COLLATE "C" NOT NULL, '
        "metadata jsonb NOT NULL, vector vector({}) NOT NULL{})"
    ).format(
        _named(collection), sql.Literal(dimensions),
        sql.SQL(', tenant text COLLATE "C" NOT NULL') if tenants else sql.SQL(""),
    )  # fmt: skip


def of_tenants(collection: str) -> Statement:
    """By it a small tenant's rows are found without the vectors' index, and all compared."""
    return sql.SQL("CREATE INDEX {} ON {} (tenant)").format(_tenants_named(collection), _named(collection))


def together(collection: str) -> Statement:
    """The rows of a tenant on neighbouring pages."""
    return sql.SQL("CLUSTER {} USING {}").format(_named(collection), _tenants_named(collection))


def index(collection: str, made: Mapping[str, Any], dimensions: int = 0) -> Statement | None:
    """None for exact search; Unfit where there is no such index."""
    type_, parameters = made["type"], made["parameters"]
    if type_ not in METHODS:
        raise Unfit(f"PgVector has no index {type_}: write index.type {' or '.join(METHODS)}")
    method, known = METHODS[type_]
    if dimensions > WIDEST[type_]:
        flat = "write index.type FLAT (exact search), or " if type_ != "FLAT" and dimensions <= WIDEST["FLAT"] else ""
        raise Unfit(
            f"PgVector's {type_} takes at most {WIDEST[type_]} numbers a vector, and the embedding model gives "
            f"{dimensions}: {flat}take a model that gives fewer"
        )
    if strange := sorted(parameters.keys() - known.keys()):
        raise Unfit(f"PgVector's {type_} has no parameter {strange[0]}: write {' or '.join(known) or 'none'}")
    if not method:
        return None
    options = [sql.Identifier(known[name]) + sql.SQL(" = ") + sql.Literal(parameters[name]) for name in parameters]
    return sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} USING {} (vector {}){}").format(
        _index_named(collection),
        _named(collection), sql.Identifier(method), sql.Identifier(OPERATORS[made["metric"]][1]),
        sql.SQL(" WITH ({})").format(sql.SQL(", ").join(options)) if options else sql.SQL(""),
    )  # fmt: skip


def drop_index(collection: str) -> Statement:
    return sql.SQL("DROP INDEX {}").format(_index_named(collection))


def insert(collection: str, again: bool, tenants: bool = False) -> Statement:
    names = ("document", "source", "hash", "text", "metadata", "vector", *(["tenant"] if tenants else []))
    news = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in names)
    there = sql.SQL(" ON CONFLICT (id) DO UPDATE SET ") + news if again else sql.SQL("")
    places = sql.SQL(", ").join([sql.Placeholder()] * (1 + len(names)))
    return sql.SQL("INSERT INTO {} VALUES ({}){}").format(_named(collection), places, there)


def row(one: Passage, vector: Sequence[float], tenants: str = "") -> tuple[Any, ...]:
    """For `insert`; `tenants` is the metadata field that they are named in, where there are any."""
    texts = (one.id, one.document, one.source, one.hash, kept_text(one.text))
    whose = [marked(one.metadata, tenants)] if tenants else []
    return (*map(_clean, texts), jsonb(one.metadata), numbers(vector), *whose)


def page(collection: str, *fields: str) -> Statement:
    """The next rows after an id: in bounded memory on either side, and no transaction stays open between two."""
    names = sql.SQL(", ".join(fields))
    return sql.SQL("SELECT {} FROM {} WHERE id > %s ORDER BY id LIMIT {}").format(
        names, _named(collection), sql.Literal(PAGE)
    )


def of_ids(collection: str, *fields: str) -> Statement:
    """Those of these that are there."""
    names = sql.SQL(", ".join(fields))
    return sql.SQL("SELECT {} FROM {} WHERE id = ANY(%s)").format(names, _named(collection))


def of_hashes(collection: str) -> Statement:
    """Some rows with a hash from one and below another, which may be empty."""
    return sql.SQL(
        "SELECT id, text, document, hash, metadata FROM {} "
        "WHERE hash >= %s AND (%s = '' OR hash < %s) ORDER BY hash LIMIT %s"
    ).format(_named(collection))


def count(collection: str) -> Statement:
    return sql.SQL("SELECT count(*) FROM {}").format(_named(collection))


def analyze(collection: str) -> Statement:
    return sql.SQL("ANALYZE {}").format(_named(collection))


def drop(collection: str) -> Statement:
    return sql.SQL("DROP TABLE IF EXISTS {}").format(_named(collection))


def search(collection: str, asked: Asked) -> tuple[Statement, list[Any]]:
    kept, given = _where(parse(asked.filter)) if asked.filter else ("TRUE", [])
    if asked.only is not None:
        may, names = _may_be_found(asked.only)
        kept, given = f"({may}) AND ({kept})", [*names, *given]
    if asked.tenant is not None:
        whose, values = _of_tenant(asked.tenant)
        kept, given = f"({whose}) AND ({kept})", [*values, *given]
    statement = sql.SQL(
        "SELECT id, vector {} %s::vector AS distance, document, text, metadata FROM {} WHERE {} "
        "ORDER BY distance LIMIT %s"
    ).format(
        sql.SQL(OPERATORS[asked.metric][0]), _named(collection),
        sql.SQL(kept),
    )  # fmt: skip
    return statement, [numbers(asked.vector), *given, asked.top_k]


def numbers(vector: Sequence[float]) -> str:
    """A vector as text."""
    return f"[{','.join(map(repr, map(float, vector)))}]"


def jsonb(value: Any) -> Jsonb:
    return Jsonb(_clean(value), dumps=orjson.dumps)


def _clean(value: Any) -> Any:
    """Without NUL, which PostgreSQL keeps in no text."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, Mapping):
        return {_clean(name): _clean(one) for name, one in value.items()}
    return [*map(_clean, value)] if isinstance(value, list | tuple) else value


COMPARED = {
    "==": "= %s", "<": "< %s", "<=": "<= %s", ">": "> %s", ">=": ">= %s", "like": "LIKE %s", "in": "= ANY(%s::{}[])",
}  # fmt: skip
KEY = "NULLIF(metadata #> %s, 'null')"


def _where(tree: Tree) -> tuple[str, list[Any]]:
    """A condition, and the values for its places."""
    if isinstance(tree, Test):
        return _of_metadata(tree) if len(tree.path) > 1 else _of_column(tree)
    parts = [_where(one) for one in tree.parts]
    return f"({f' {tree.word.upper()} '.join(part for part, _ in parts)})", [one for _, given in parts for one in given]


def _of_column(test: Test) -> tuple[str, list[Any]]:
    (column,), positive = test.path, POSITIVE.get(test.is_, test.is_)
    kept = f"{column} {COMPARED[positive].format('text')}"
    return kept if positive == test.is_ else f"NOT ({kept})", [_clean(test.value)]


def _of_metadata(test: Test) -> tuple[str, list[Any]]:
    """What is left out is what has the key and is not kept."""
    path = [_clean(one) for one in test.path[1:]]
    if test.is_ in ("exists", "missing"):
        return f"{KEY} IS {'NOT ' if test.is_ == 'exists' else ''}NULL", [path]
    if test.is_ not in POSITIVE:
        return _positive(path, test.is_, test.value)
    kept, given = _positive(path, POSITIVE[test.is_], test.value)
    return f"({KEY} IS NOT NULL AND NOT COALESCE({kept}, FALSE))", [path, *given]


def _positive(path: list[Any], is_: str, value: Any) -> tuple[str, list[Any]]:
    """Values of JSON are compared with their kind, so that 1 is not "1"; what makes no sense is neither true nor
    false."""
    if isinstance(value, tuple):
        return f"{KEY} {COMPARED[is_].format('jsonb')}", [path, [*map(jsonb, value)]]
    if is_ == "==":
        return f"{KEY} {COMPARED[is_]}", [path, jsonb(value)]
    if is_ == "contains":
        return f"CASE jsonb_typeof({KEY}) WHEN 'array' THEN metadata #> %s @> %s END", [path, path, jsonb([value])]
    if isinstance(value, str):
        text = f'(metadata #>> %s) COLLATE "C" {COMPARED[is_]}'
        return f"CASE jsonb_typeof({KEY}) WHEN 'string' THEN {text} END", [path, path, _clean(value)]
    number = f"metadata #> %s {COMPARED[is_]}"
    return f"CASE jsonb_typeof({KEY}) WHEN 'number' THEN {number} END", [path, path, jsonb(value)]


def _of_tenant(tenant: Tenant) -> tuple[LiteralString, list[Any]]:
    return ("tenant = %s", [tenant.mark]) if tenant.mark else (f"{KEY} = %s", [[tenant.field], jsonb(tenant.name)])


def _may_be_found(only: Restriction) -> tuple[str, list[Any]]:
    """As `Restriction.admits` says. `?|` alone would take an object's keys for names too."""
    path, names = [_clean(only.field)], [*map(_clean, only.names)]
    kinds = "WHEN 'array' THEN metadata #> %s ?| %s WHEN 'string' THEN metadata #>> %s = ANY(%s) ELSE FALSE"
    may = f"CASE WHEN {KEY} IS NULL THEN %s ELSE CASE jsonb_typeof({KEY}) {kinds} END END"
    return may, [path, only.missing, path, path, names, path, names]
