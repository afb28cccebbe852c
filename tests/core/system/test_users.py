"""Who may administer."""

import os

import pytest

from ghostwire.config import parse
from ghostwire.errors import ConfigError
from ghostwire.system.users import administrators, name_of


@pytest.mark.parametrize("section", ["server", "node"])
def test_root_and_our_own_user_may_and_the_operator_must_be_a_user_of_this_machine(section: str) -> None:
    own = {0, os.geteuid()}
    assert administrators(parse(""), section) == own
    assert administrators(parse(f"[{section}]\noperator = 'root'"), section) == own
    with pytest.raises(ConfigError, match=rf"gw\.toml:2: {section}\.operator: this machine has no user 'no-such-user'"):
        administrators(parse(f"[{section}]\noperator = 'no-such-user'", "gw.toml"), section)


def test_a_user_has_its_name_and_one_who_is_gone_his_number() -> None:
    assert name_of(0) == "root"
    assert name_of(4_123_456_789) == "user 4123456789"
