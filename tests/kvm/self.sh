# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash disable=SC2154
# Can these tests fail at all? Each of the judgements is given something that it must not accept.

must_fail() { # NAME COMMAND...: in a subshell, so that the counts stay
	local name=$1
	shift
	if ("$@" 2>/dev/null | grep -q '^FAIL ') then
		pass "$name"
	else
		fail "$name" "was not noticed"
	fi
}

wrong_status() { run_limited sh -c 'echo x; exit 3'; judge inner 0; }
wrong_output() { run_limited echo one; judge inner 0 two; }
never_ends() { limit=1 run_limited sleep 5; judge inner 0; }
accepted() { refused inner . true; }
two_lines() { refused inner . sh -c 'echo trivm: a >&2; echo trivm: b >&2; exit 2'; }
no_prefix() { refused inner . sh -c 'echo "a: b" >&2; exit 2'; }

must_fail "self: a wrong status is noticed" wrong_status
must_fail "self: missing output is noticed" wrong_output
must_fail "self: a test that never ends is noticed" never_ends
must_fail "self: bad input that is taken is noticed" accepted
must_fail "self: two lines instead of one are noticed" two_lines
must_fail "self: a line that is not trivm's is noticed" no_prefix
