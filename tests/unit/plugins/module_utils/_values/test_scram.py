# Copyright (c) 2026, the pgtandem authors
# GNU General Public License v3.0 or later (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords against verifiers that real servers stored for the role C(replica)."""

from __future__ import annotations

import pytest
from ansible_collections.pgtandem.replication.plugins.module_utils._values.scram import (
    password_fits,
    saslprep,
    verifier_kind,
)

#: Server's version, password, what pg_authid.rolpassword held.
STORED = [
    (
        "18.6",
        "plain",
        "SCRAM-SHA-256$4096:HCW50Q/ob1fBh30vtY6pIw==$"
        "pygdM/SuuDuQSmO9yy16vaz5/iAeAp9GxwFm+Z7JSjo=:6xD0VQdON6E6tXlmSXvljNXX3y5nMNALr++kIrM85iM=",
    ),
    (
        "18.6",
        "p\xe4\xdf \u65e5\u672c'\\x",
        "SCRAM-SHA-256$4096:scTmuY3Uu/gO9clNNnrASw==$"
        "Re5CDdN2hXhm7VQxRtA8dkKpFhyOOS/PCcfqtGxxUE4=:XpZrHn5YtrWRMae7A3/P93DQ5ZXQUOlWi5+eTx3wCbg=",
    ),
    (
        "18.6",
        "\ufb01n",
        "SCRAM-SHA-256$4096:z23ajT1r96IQxGyqoWlW3Q==$"
        "UMkDQi8bRRG+nlE3TRLhYVzSejtjRVosWIppo0F6FG8=:53FDOMAmjed0P29EVQ1alPMuaYKStIAqAW9jptRZuSA=",
    ),
    (
        "18.6",
        "a\xa0b",
        "SCRAM-SHA-256$4096:mfi48A6FYxIXon2yRp2P+Q==$"
        "eIuzXoQUzQVa49mTKhOLSJPuQ/AllyE8H1gUf+I0F4w=:vS0YdmOp7qAQcizMjl+yVfYZ05RVvb+REwCMBfN8pLM=",
    ),
    (
        "18.6",
        "a\u200bb",
        "SCRAM-SHA-256$4096:eU36/ZmQiAlorEFi0ipMew==$"
        "68NoS23yiFkrHujJq6pdc+bf7Y3oTrJoc1tE+fYWXF8=:0kQyyQBOTj10/5LAzffBL+7X+XiMbWw9Gcc4KOw9pT0=",
    ),
    (
        "18.6",
        "a\xadb",
        "SCRAM-SHA-256$4096:0W5KJH+7VJkpedPZLxg2jw==$"
        "gIVKuQTXbKA8fA6XR1fR9iJAl9/rCKJchtqmvmJEbEM=:z9HFU71svTrSUrGZz7xnkSPNWG06UBOiKTNbgbx3ETg=",
    ),
    (
        "18.6",
        "\u2168",
        "SCRAM-SHA-256$4096:FSdGXZMi4c+joFttc0Oh2A==$"
        "1scpnWUKsRF+Ihf0zhlY3KmtTrpTMttu2XqlSDTgT3M=:O4K4ZKEnUfgTb16tsIQxou3zSUH0hvtamKZKvSvsgWE=",
    ),
    (
        "18.6",
        "e\u0301",
        "SCRAM-SHA-256$4096:fR3IexYWsP2h0g2AFrGypQ==$"
        "UPsyef1YJ9JKyN5VCBnee56FMFdphEmm2h6ZKsGEysY=:5j+6R8JkOTZWXXom7p5jTxSoMinu2PQuZdey81APFL0=",
    ),
    (
        "18.6",
        "\u05d0bc",
        "SCRAM-SHA-256$4096:E6KeZWS4BPAxJjuDIp5kBQ==$"
        "qd/YYMW1kROWaWRC/Zp6XDems2Y+WM6mDx5YlQeptYQ=:b1mqkrw9UK4/OvSC674oThNJotC63CIborSRIogpCd4=",
    ),
    (
        "18.6",
        "\u0627b\u0628",
        "SCRAM-SHA-256$4096:Q4YME+wM90Sn6DWD17E0Tw==$"
        "SyHsAw5IHSOmd+JiEzq+mp0qZtDqh+DMhJaDIeeFd2w=:SHF89+eOute6lOojogJtfEx1CRPyLjcUWvenRWmHuLI=",
    ),
    (
        "18.6",
        "\U0001f600",
        "SCRAM-SHA-256$4096:ToM/PJANyleiyw32WElrQg==$"
        "PPn7n7udbyrUQnMzjHFIe6gT7Qauc0THDYUcnGB/ANw=:KaAVU9RB+SAZw3BJbkNbqqZUduPZWbVKUp4/0ygfTM4=",
    ),
    (
        "18.6",
        "\U0001f130",
        "SCRAM-SHA-256$4096:bXa8HOHWgeeXB1MYH9Fskg==$"
        "XAbmFgVNbpE4E4VL9cS+Y8LwbURp+GEWTmsVzXRcJ88=:rKRkq1WtUWb58ERT6Cr/z0Kk1lHA9YsM19MiQqF8bBw=",
    ),
    (
        "18.6",
        "' \" \\ : % # $ {{ x }}",
        "SCRAM-SHA-256$4096:2cfYyqeYREfgAox3OV91Lw==$"
        "Y/0c1LjngBbWF3ea/iyrPx/7j0rXC1BBbTuiDyKLnTg=:fTKV3ShIQewxzvqo/t9HyjNEEjw608eRliIwVxgFc/w=",
    ),
    (
        "18.6",
        "a\tb",
        "SCRAM-SHA-256$4096:IVwM87jBPtlKY/A1JZtKlg==$"
        "l861xgWxFmcWm3bv8yPSefZTHF+LiAK5TX6RcIvM6pY=:l9TWhpm2SUGkjE58leIF8eW61KLEOgBbHEBmvfWiPpY=",
    ),
    (
        "18.6",
        " lead and trail ",
        "SCRAM-SHA-256$4096:qGZqXy+DF/e7MTZSAaIkuA==$"
        "6PhSIVfGg2XBmGTEflduea2KFiWlv0/vonnIDkCDBEk=:WJNPVGxd6llgR/KgK6+0RgmKdslH1HhvZfqXGgPC9Sw=",
    ),
    (
        "18.6",
        "x" * 202,
        "SCRAM-SHA-256$4096:P4WpTsrK2rNDvuFax+I5zQ==$"
        "/ptwqLIdkoL1z9mF93yls0Yx98OENaHxsPWMkZXspGA=:QDnUv2ooBDFJ79AYaUa7UG2mQ9950TK5BXEL4pXQdbI=",
    ),
    ("18.6", "plain", "md5f02f23ac2a8dfe1962b7d85231a67888"),
    ("18.6", "p\xe4\xdf \u65e5\u672c'\\x", "md5c104c53f7bfabf7254ab5ed9a5958d9b"),
    ("18.6", "\ufb01n", "md55c177bad8b3680a3f830d338a6f03d6c"),
    ("18.6", "a\xa0b", "md543e4fbfd192e92238ff293e3f7471a5f"),
    ("18.6", "a\u200bb", "md53ae4b42d9dac220e0f2d2ca857bd798f"),
    ("18.6", "a\xadb", "md5e0e5f079295c0c4f8b52979230319a57"),
    ("18.6", "\u2168", "md539f4c72acc4d4e08f3b1ab39ab6932b6"),
    ("18.6", "e\u0301", "md5d3b4b15acf2393457bb60135ecec7d6e"),
    ("18.6", "\u05d0bc", "md5cef9699f7926bff6e456bf8590f8d702"),
    ("18.6", "\u0627b\u0628", "md5f728e0a5ab021a748c07dc84de2c95f0"),
    ("18.6", "\U0001f600", "md5af66231bd403c55e597be50afa6f566e"),
    ("18.6", "\U0001f130", "md5489965c7fd2c595c863af5bde02862f9"),
    ("18.6", "' \" \\ : % # $ {{ x }}", "md58e498f3f56221e100d02671a59be9a34"),
    ("18.6", "a\tb", "md5d1acae21ba1df73f32bf1a0bb990b900"),
    ("18.6", " lead and trail ", "md5ae22355131b3bbc634ef2d1860e2482a"),
    ("18.6", "x" * 202, "md53a55109a665fc9823120120730709a1d"),
    (
        "15.18",
        "plain",
        "SCRAM-SHA-256$4096:OXvy65Vz+WDjUNkunXr66w==$"
        "ITCZhX9dJfYrFL2wccdO6fr9dRClgWNeV8D5KnzlHzY=:Eo8z4ynELTirK6RakAV9qv116yYpWYxPc1fO72+PVg8=",
    ),
    (
        "15.18",
        "p\xe4\xdf \u65e5\u672c'\\x",
        "SCRAM-SHA-256$4096:VAXdUmuDqL+conLCs0DLTA==$"
        "IIbbev7/T2sShGnogbHGAO6hYlAv6YEg5/VWh6LYEVA=:cYfIWK4TesTFLwEU3qaicv8/XM0Wvmdi2RNpqXmvYeA=",
    ),
    (
        "15.18",
        "\ufb01n",
        "SCRAM-SHA-256$4096:c3KR2p1+11vQQPGweDIvHg==$"
        "fz8btt/asP/Ko7++KzO8eCCbc5ozs2DkjscwI50v6y8=:0RSPOuAVLgsXGMHAIDX/qwXEa/usK0iig4YN35X3OLc=",
    ),
    (
        "15.18",
        "a\xa0b",
        "SCRAM-SHA-256$4096:Ot5wx/YL62/x9t+lBjTuTg==$"
        "6JA9C0GOzhiNlSIcRPZhP4Sw6CtHmxQXGGFiGhCpngk=:0MUhIhP7WKHHtr3mLmm1yfdHidBQj0ntwERizVgUF6g=",
    ),
    (
        "15.18",
        "a\u200bb",
        "SCRAM-SHA-256$4096:uK+k7cu/drM7WSiZ6R/IYg==$"
        "5RWM8XZWgP75Wspb8H9BUmsNtE7YkRvupzlZRRlm7J4=:vvA14Ng9F7XDJG8bDkoYEaR4vRRhEC6sRP4N0Tu4mK8=",
    ),
    (
        "15.18",
        "a\xadb",
        "SCRAM-SHA-256$4096:/7+LZErOSK9Ui3TBD6t/RQ==$"
        "o7WWEzmN9YiDA+KRb2hnE6znMpq3rY46vddxsnT46pY=:R4aT74xcCI53TcWeogW9s1St7V+cC/3+rJQBYSVdsD0=",
    ),
    (
        "15.18",
        "\u2168",
        "SCRAM-SHA-256$4096:dDEKSnbc+7+x15hVkPcAWg==$"
        "fQm2POUlTmQlfv5WEak0f/oITbOZ/feOWxBfLBsvrQE=:EF7x4ibgPFve5s7vd2HsUJYiR1An4ismmXcofkC/fco=",
    ),
    (
        "15.18",
        "e\u0301",
        "SCRAM-SHA-256$4096:p00xCSLXkef+9c6bA+LYpQ==$"
        "NhT6M43/NdO2JQnh5MlFkN8bIzVYGkpznujqROug0Lw=:YARWzl+Looa8Lwy3BD3QIz9qc/6+yCo6LD4/rmCPSxk=",
    ),
    (
        "15.18",
        "\u05d0bc",
        "SCRAM-SHA-256$4096:eedzrXRM4XdLjOwRM00Ivw==$"
        "pADqgsWol1i4mYhtjoctAmLL6NmpBFw3WzVDrdHd8eA=:yQA11DlpOz86xk+EwDj3HcAN4yP+IwYUjiZQrbXDZcc=",
    ),
    (
        "15.18",
        "\u0627b\u0628",
        "SCRAM-SHA-256$4096:yG/y0MW0zpakeG3hXzN9SA==$"
        "p+sVrPMl8A/Bu0BjoMVVPk/Uhi4ef+d8nqrMhTULl9E=:ML80hfexKmn4KdEk/JA7Z6HfVPhN00SSfKhyyT8OTho=",
    ),
    (
        "15.18",
        "\U0001f600",
        "SCRAM-SHA-256$4096:ZnRJMk/QFaXgmQ7WI38vGg==$"
        "veo9iAVhot1W6Mu+UooJ6mGSxs6JS2DpmU3+3shawvQ=:3CeFotnCgVFMZjS2nxB6vAIDGgl+GV2i8zvq0bVhNhw=",
    ),
    (
        "15.18",
        "\U0001f130",
        "SCRAM-SHA-256$4096:ccBLobn00/5cqm7IkvuECg==$"
        "9CpToQlemDatA209yx9981SiGl702tVZNQJYw91985w=:i+F2p0V7BBdSyUuCniS/XnTf+V86d+Hqe4na5qVM5Rc=",
    ),
    (
        "15.18",
        "' \" \\ : % # $ {{ x }}",
        "SCRAM-SHA-256$4096:zF/AzpbwgEwrUfpVWYXrkA==$"
        "SbrFTO+E691EXQQiyWh2OriIrxc8ZsKK0LKSUruNGXg=:moWNLsPrVkwJgy4eqjYwGy2Yl14QxrmDjoTLnf+IQOc=",
    ),
    (
        "15.18",
        "a\tb",
        "SCRAM-SHA-256$4096:60sQY59/C7ZqT2pWZvoM4w==$"
        "EScd4Szi7kuP8N1zx1Xch3LqBCZrdfMAYkRQsPvJJGU=:MFJsE2OMgi5YkXnpGM4WZnMVzAteew7Ul/XfwHH5FLc=",
    ),
    (
        "15.18",
        " lead and trail ",
        "SCRAM-SHA-256$4096:DoCCysWwLsB+kjm2fFYIfA==$"
        "ysf6iYgpGOQXQsoAAFgtjP0mSxfZIjpCDJWiunMlyAI=:w1OKu4p7KYXxUrIjL/dAA6SxCn8/mAoFPPHIZPNBCJg=",
    ),
]


@pytest.mark.parametrize(("server", "password", "verifier"), STORED)
def test_the_right_password_fits(server: str, password: str, verifier: str) -> None:
    assert password_fits(password=password, role="replica", verifier=verifier)


@pytest.mark.parametrize(("server", "password", "verifier"), STORED)
def test_another_password_does_not_fit(server: str, password: str, verifier: str) -> None:
    assert not password_fits(password=password + "!", role="replica", verifier=verifier)
    assert not password_fits(password="", role="replica", verifier=verifier)


@pytest.mark.parametrize(
    ("verifier", "kind"),
    [
        pytest.param(None, None, id="no-password"),
        pytest.param("", None, id="empty"),
        pytest.param("secret", None, id="clear-as-9.x-could-store-it"),
        pytest.param("md5" + "0" * 31, None, id="md5-too-short"),
        pytest.param("md5" + "G" * 32, None, id="md5-not-hexadecimal"),
        pytest.param("SCRAM-SHA-256$4096:c2FsdA==", None, id="scram-cut-off"),
        pytest.param(STORED[0][2], "scram-sha-256", id="scram"),
        pytest.param("md5" + "0a" * 16, "md5", id="md5"),
    ],
)
def test_kind_of_a_verifier(verifier: str | None, kind: str | None) -> None:
    assert verifier_kind(verifier) == kind
    assert not password_fits(password="secret", role="replica", verifier=verifier) or kind


def test_md5_depends_on_the_roles_name() -> None:
    verifier = next(row[2] for row in STORED if row[1] == "plain" and row[2].startswith("md5"))
    assert not password_fits(password="plain", role="other", verifier=verifier)


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        pytest.param("a\tb", "a\tb", id="ascii-is-left-alone"),
        pytest.param("\ufb01n", "fin", id="ligature"),
        pytest.param("a\u00a0b", "a b", id="no-break-space"),
        pytest.param("a\u200bb", "a b", id="zero-width-space-is-a-space"),
        pytest.param("a\u00adb", "ab", id="soft-hyphen-is-nothing"),
        pytest.param("\u00ad", "\u00ad", id="nothing-left-is-taken-raw"),
        pytest.param("\ufb01\t", "\ufb01\t", id="control-beside-other-letters-is-taken-raw"),
        pytest.param("\U0001f130", "\U0001f130", id="not-assigned-is-taken-raw"),
        pytest.param("\u0627b\ufb01\u0628", "\u0627b\ufb01\u0628", id="both-directions-is-taken-raw"),
        pytest.param("\u0627\u0661", "\u0627\u0661", id="right-to-left-not-at-the-end-is-taken-raw"),
    ],
)
def test_saslprep(password: str, prepared: str) -> None:
    assert saslprep(password) == prepared
