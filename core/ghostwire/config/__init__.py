"""ghostwire.toml into typed settings; every error names its file, line and key.

plugins = ["-auth_oidc", "pigeon"]     leave one out, add another

[server]  [node]  [relay]              core's own settings
[plugin.NAME]                          that plugin's settings; trusted = true for a third party's
"""

from ghostwire.config.checks import CHECKS, check_map_url, check_storage, split_listen
from ghostwire.config.file import DEFAULT_FILE, Config, load, parse
from ghostwire.config.tables import NodeConfig, RelayConfig, ServerConfig

__all__ = [
    "CHECKS",
    "DEFAULT_FILE",
    "Config",
    "NodeConfig",
    "RelayConfig",
    "ServerConfig",
    "check_map_url",
    "check_storage",
    "load",
    "parse",
    "split_listen",
]
