"""The forms of a TCTI."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cofferdam_config.kinds import NotAllowedError
from cofferdam_config.tcti import parse
from cofferdam_contracts.settings import TctiSettings

NOTHING = dict.fromkeys(("path", "host", "port", "bus_name", "bus_type"))
SIMULATOR = {"host": "127.0.0.1", "port": 2321}
DAEMON = {"bus_name": "com.intel.tss2.Tabrmd", "bus_type": "system"}


@pytest.mark.parametrize(
    ("text", "kind", "given"),
    [
        ("device", "device", {"path": "/dev/tpmrm0"}),
        ("device:", "device", {"path": "/dev/tpmrm0"}),
        ("device:/dev/tpm1", "device", {"path": "/dev/tpm1"}),
        ("device:/dev/a:b,c=d", "device", {"path": "/dev/a:b,c=d"}),
        *((f"{kind}{colon}", kind, SIMULATOR) for kind in ("mssim", "swtpm") for colon in ("", ":")),
        ("mssim:host=::1,port=65534", "mssim", {"host": "::1", "port": 65534}),
        ("swtpm:port=1", "swtpm", {"host": "127.0.0.1", "port": 1}),
        ("swtpm:port=2322,host=localhost", "swtpm", {"host": "127.0.0.1", "port": 2322}),
        ("swtpm:path=/run/swtpm.sock", "swtpm", {"path": "/run/swtpm.sock"}),
        ("tabrmd", "tabrmd", DAEMON),
        ("tabrmd:bus_type=session", "tabrmd", DAEMON | {"bus_type": "session"}),
        ("tabrmd:bus_name=a.b-c,bus_type=system", "tabrmd", DAEMON | {"bus_name": "a.b-c"}),
    ],
)
def test_what_a_text_says(text: str, kind: str, given: dict[str, object]) -> None:
    assert parse(text) == TctiSettings(kind=kind, **NOTHING | given)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        *(
            (text, "it does not begin with device, mssim, swtpm, tabrmd")
            for text in ("", "tpm", "Device", "libtpms", "/dev/tpm0")
        ),
        *((text, "its path is not an absolute path of at most 4095 bytes") for text in ("device:tpm0", "device:/\0")),
        (f"device:/{'a' * 4095}", "its path is not an absolute path of at most 4095 bytes"),
        *(
            (text, "its path is not an absolute path of at most 107 bytes")
            for text in ("swtpm:path=", "swtpm:path=a", f"swtpm:path=/{'a' * 107}")
        ),
        *(
            (text, "its parameters are not host or port, each once")
            for text in ("mssim:path=/a", "mssim:a=::1", "swtpm:port=1,port=1", "mssim:,", "swtpm:port=1,path=/a")
        ),
        ("swtpm:path=/a,port=1", "its parameters are not path, each once"),
        *(
            (f"mssim:host={host}", "its host is not an IP address or localhost")
            for host in ("", "tpm", "127.1", "LOCALHOST")
        ),
        *(
            (f"mssim:port={port}", "its port is not a number from 1 to 65534")
            for port in ("", "0", "65535", "-1", "1e3", "0000001", "\u0663")
        ),
        ("tabrmd:host=127.0.0.1", "its parameters are not bus_name or bus_type, each once"),
        *(
            (f"tabrmd:bus_name={name}", "its bus_name is not a D-Bus name")
            for name in ("", "a", "a..b", "a.1", f"a.{'b' * 254}")
        ),
        ("tabrmd:bus_type=System", "its bus_type is not system or session"),
    ],
)
def test_what_a_text_may_not_say(text: str, problem: str) -> None:
    with pytest.raises(NotAllowedError) as caught:
        parse(text)
    assert str(caught.value) == problem
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@given(st.text() | st.builds("{}:{}".format, st.sampled_from(["device", "mssim", "swtpm", "tabrmd"]), st.text()))
@example("mssim:host=fe80::1%x")
def test_any_text_is_a_way_or_an_error(text: str) -> None:
    try:
        way = parse(text)
    except NotAllowedError:
        return
    assert [way.path, way.port, way.bus_name].count(None) == 2
    assert (way.port is None, way.bus_name is None) == (way.host is None, way.bus_type is None)
