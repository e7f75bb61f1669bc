"""The base of the tables: how constraints are named, and which column a type of Python's gets."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, MetaData
from sqlalchemy.orm import DeclarativeBase

from retint.columns import Moment, text_enum
from retint.lifecycle import Mode, Outcome, Stage, State, Verdict
from retint.roles import Role


class Table(DeclarativeBase):
    """Base of the mapped classes."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        datetime: Moment(),
        dict[str, Any]: JSON(),
        Stage: text_enum(Stage),
        State: text_enum(State),
        Outcome: text_enum(Outcome),
        Verdict: text_enum(Verdict),
        Role: text_enum(Role),
        Mode: text_enum(Mode),
    }
