"""People of an institution, asked for by two at the same time."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from tests.integration.conftest import Site

from retint import accounts
from retint.accounts import Identity
from retint.errors import IllegalMove
from retint.roles import Role


def test_two_administrators_who_demote_each_other_leave_one(postgresql_site: Site) -> None:
    services, together = postgresql_site.services, Barrier(2)
    with services.begin() as session:
        tenant = accounts.get_or_create_tenant(session, "City Museum")
        users = [accounts.create_user(session, tenant.id, f"{name}@a.example", role=Role.ADMIN) for name in "ab"]
        first, second = (accounts.identify(user) for user in users)

    def demote(who: Identity, whom: Identity) -> bool:
        together.wait(timeout=20)
        try:
            with services.begin() as session:
                accounts.set_role(session, who, whom.person_id, Role.MEMBER)
        except IllegalMove:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(demote, (first, second), (second, first))) == [False, True]
