# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
#
# Debian packages without installing them: sourced by guest-images/linux/build and lab/build.
#
# apt-get resolves and downloads with a configuration of our own: an empty dpkg status, so that
# what the host has installed plays no part, and all state below one cache folder, so that
# an ordinary user can do it. Sources and keys are the host's own. Its package lists are used
# where they are there and fit; otherwise a private copy is fetched. Packages are only unpacked
# (dpkg-deb), never configured: none of their scripts run, neither root nor chroot is needed.

debs_name=${0##*/} # who speaks
debs_say() { echo "$debs_name: $*" >&2; }

# debs_init DIR: DIR keeps the downloads (DIR/debs) and apt's state (DIR/apt).
debs_init() {
	debs_dir=$1/debs
	debs_apt=$1/apt
	command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
		debs_say "apt-get and dpkg-deb are needed: this works on Debian only"
		return 1
	}
	mkdir -p "$debs_dir/partial" "$debs_apt/lists/partial" "$debs_apt/state" "$debs_apt/cache" \
		"$debs_apt/empty/partial"
	: >"$debs_apt/status"
	debs_lists=/var/lib/apt/lists
	compgen -G "$debs_lists/*_Packages*" >/dev/null || debs_lists=
	# Private lists, once fetched, are the newer ones.
	compgen -G "$debs_apt/lists/*_Packages*" >/dev/null && debs_lists=$debs_apt/lists
	if [ -n "$debs_lists" ]; then
		debs_configure
	else
		debs_update
	fi
}

debs_configure() {
	# Hooks of the host's configuration are cleared: they act on the host.
	cat >"$debs_apt/conf" <<-END
		APT::Architecture "amd64";
		#clear APT::Architectures;
		APT::Architectures:: "amd64";
		APT::Install-Recommends "false";
		APT::Install-Suggests "false";
		APT::Sandbox::User "root";
		APT::Get::Assume-Yes "true";
		Acquire::Retries "3";
		Acquire::Languages "none";
		Debug::NoLocking "true";
		Dir::State "$debs_apt/state";
		Dir::State::status "$debs_apt/status";
		Dir::State::lists "$debs_lists";
		Dir::Cache "$debs_apt/cache";
		Dir::Cache::archives "$debs_dir";
		Dir::Cache::pkgcache "pkgcache.bin";
		Dir::Cache::srcpkgcache "srcpkgcache.bin";
		Dir::Log "$debs_apt";
		#clear APT::Update::Pre-Invoke;
		#clear APT::Update::Post-Invoke;
		#clear APT::Update::Post-Invoke-Success;
		#clear DPkg::Pre-Install-Pkgs;
	END
}

debs_update() {
	debs_say "fetching package lists"
	debs_lists=$debs_apt/lists
	debs_configure
	apt-get -c "$debs_apt/conf" -qq update >&2 </dev/null
}

debs_get() { apt-get -c "$debs_apt/conf" -qq "$@" </dev/null; }

debs_filter() {
	local uri name rest
	while read -r uri name rest; do
		[[ -z ${DEBS_UNWANTED:-} || ! ${name%%_*} =~ ^($DEBS_UNWANTED)$ ||
			${name%%_*} =~ ^(${DEBS_WANTED:-})$ ]] && echo "$uri $name $rest"
	done
	return 0
}

# debs_try GOAL PACKAGE...: GOAL is "install" (with everything they depend on) or "download"
# (only these). Prints the file names, one a line, sorted; downloads what is not there yet.
# Packages whose whole name matches the extended regular expression DEBS_UNWANTED, and not
# DEBS_WANTED, are left out of what "install" finds.
debs_try() {
	local goal=$1 uris name size missing= all
	shift
	if [ "$goal" = install ]; then
		# With an empty folder of archives: what is there already would not be named.
		uris=$(debs_get install --print-uris -o "Dir::Cache::archives=$debs_apt/empty" "$@") ||
			return 1
	else
		uris=$(debs_get download --print-uris "$@") || return 1
	fi
	uris=$(debs_filter <<<"$uris")
	while read -r _ name size _; do
		[ -n "$name" ] || continue
		[ -f "$debs_dir/$name" ] && [ "$(stat -c %s "$debs_dir/$name")" = "$size" ] ||
			missing=yes
	done <<<"$uris"
	if [ -n "$missing" ]; then
		debs_say "downloading packages"
		if [ "$goal" = install ]; then
			# By name and version: what was left out is not wanted on disk either.
			mapfile -t all < <(cut -d' ' -f2 <<<"$uris" |
				sed -E 's/_([^_]*)_[^_]*$/=\1/; s/%3a/:/')
			set -- "${all[@]}"
		fi
		(cd "$debs_dir" && debs_get download "$@" >&2) || return 1
	fi
	cut -d' ' -f2 <<<"$uris" | LC_ALL=C sort
}

# debs_fetch GOAL PACKAGE...: the same, and where it fails (no lists, or lists so old that the
# mirror no longer has the versions they name) once more with fresh lists.
debs_fetch() {
	debs_try "$@" || { debs_update && debs_try "$@"; } || {
		debs_say "could not get these packages: ${*:2}"
		return 1
	}
}

# debs_real METAPACKAGE: the package that it depends on, for example
# linux-image-cloud-amd64 -> linux-image-6.1.0-NN-cloud-amd64.
debs_real() {
	local real
	real=$(apt-cache -c "$debs_apt/conf" depends "$1" 2>/dev/null </dev/null |
		awk '$1 == "Depends:" { print $2; exit }')
	if [ -z "$real" ]; then
		debs_update
		real=$(apt-cache -c "$debs_apt/conf" depends "$1" </dev/null |
			awk '$1 == "Depends:" { print $2; exit }')
	fi
	[ -n "$real" ] || {
		debs_say "the package sources of this host have no $1"
		return 1
	}
	echo "$real"
}

# debs_choose NEED...: for each "this|that" the first package that apt has a version of, one a line. Releases name
# some packages differently. Where none is known, once more with fresh lists.
debs_choose() {
	debs_known "$@" 2>/dev/null || { debs_update && debs_known "$@"; }
}

debs_known() {
	local need name names known
	names=$(printf '%s\n' "$@" | tr '|' '\n')
	# shellcheck disable=SC2086 # names of packages have no spaces
	known=$(LC_ALL=C apt-cache -c "$debs_apt/conf" policy $names </dev/null |
		awk '/^[^ ]/ {name = $1} $1 == "Candidate:" && $2 != "(none)" {print name}')
	for need in "$@"; do
		for name in ${need//|/ }; do
			[[ $'\n'$known$'\n' == *$'\n'"$name:"$'\n'* ]] && echo "$name" && continue 2
		done
		debs_say "the package sources of this host have none of: ${need//|/, }"
		return 1
	done
}

# debs_plain_modules DIR: kernel modules below DIR that are compressed (Debian 13's, .ko.xz) are unpacked. busybox's
# modprobe may not know the format, and under emulation unpacking is what a boot would spend its time on.
debs_plain_modules() {
	local format tool
	for format in xz:xz zst:zstd gz:gzip; do
		tool=${format#*:} format=${format%:*}
		[ -n "$(find "$1" -name "*.ko.$format" -print -quit)" ] || continue
		command -v "$tool" >/dev/null || {
			debs_say "$tool is missing, which unpacks kernel modules (.ko.$format); tools/deps run installs it"
			return 1
		}
		find "$1" -name "*.ko.$format" -print0 | xargs -0 -n 64 -P "$(nproc)" "$tool" -d -q || {
			debs_say "the kernel modules below $1 could not be unpacked"
			return 1
		}
	done
	# What the package says of its modules names them as they were.
	find "$1" -name 'modules.order' -exec sed -i -E 's/\.ko\.(xz|zst|gz)$/.ko/' {} +
}

# debs_targets [CODENAME]: of the host's package sources those whose origin is Debian, as lines for a sources.list;
# with CODENAME, the same of that release ("trixie", "trixie-security").
debs_targets() {
	local option= keys=/usr/share/keyrings/debian-archive-keyring.gpg # apt does not say which key belongs to a source
	[ ! -e $keys ] || option="[signed-by=$keys] "
	apt-get -c "$debs_apt/conf" indextargets \
		--format "\$(ORIGIN) \$(CODENAME) \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" \
		"Created-By: Packages" "Architecture: amd64" </dev/null | sort -u |
		awk -v option="$option" -v codename="${1-}" '$1 == "Debian" && NF == 5 && $5 == "main" {
			if (codename)
				sub(/^[^-]*/, codename, $4)
			print "deb " option $3, $4, $5
		}' | sort -u
}

# debs_root DIR: a new root folder with the merged /usr that the packages of Debian 12 and later expect.
debs_root() {
	local d
	mkdir -p "$1"
	for d in bin sbin lib lib64; do
		mkdir -p "$1/usr/$d"
		ln -s "usr/$d" "$1/$d"
	done
}

# debs_unpack DIR FILE...: unpack packages (names as printed by debs_fetch) below DIR, without
# what the patterns in DEBS_EXCLUDE name. Not with dpkg-deb -x, which would replace the links of
# the merged /usr by folders.
debs_unpack() {
	local dir=$1 deb pattern exclude=()
	shift
	set -f
	for pattern in ${DEBS_EXCLUDE:-}; do
		exclude+=("--exclude=$pattern")
	done
	set +f
	for deb in "$@"; do
		dpkg-deb --fsys-tarfile "$debs_dir/$deb" |
			tar -x -p --keep-directory-symlink --numeric-owner "${exclude[@]}" -C "$dir"
	done
}

# debs_source DIR PACKAGE: download the source of which the package PACKAGE is made and unpack it
# below DIR; prints the folder. In the version of the installed PACKAGE if the mirror still has it,
# else in the newest. The lists of sources are fetched for the repositories that have PACKAGE,
# whether or not the host's own configuration has them, into state of their own.
debs_source() {
	local dir=$1 package=$2 name version folder options
	options=(
		-o "Dir::Etc::sourcelist=/dev/null" -o "Dir::Etc::sourceparts=$debs_apt/sources"
		-o "Dir::State::lists=$debs_apt/source-lists"
		-o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache="
	)
	rm -rf "$debs_apt/sources"
	mkdir -p "$debs_apt/sources" "$debs_apt/source-lists/partial"
	debs_source_entries "$package" || return 1
	debs_say "downloading the source of $package"
	debs_get "${options[@]}" update >&2 || return 1
	read -r name version < <(dpkg-query -W -f '${source:Package} ${source:Version}\n' "$package" \
		2>/dev/null) || name=$package
	(
		cd "$dir"
		{ [ -n "${version:-}" ] && debs_get "${options[@]}" source "$name=$version"; } ||
			debs_get "${options[@]}" source "$name"
	) >"$dir/log" 2>&1 || {
		tail -n 5 "$dir/log" >&2
		return 1
	}
	folder=("$dir"/*/debian/changelog)
	[ -e "${folder[0]}" ] || return 1
	echo "${folder[0]%/debian/changelog}"
}

# One file in $debs_apt/sources for each entry of the host's configuration whose repository has
# PACKAGE: that entry, for sources.
debs_source_entries() {
	local package=$1 described entry number=0
	described=$(apt-cache -c "$debs_apt/conf" madison "$package" </dev/null | cut -d'|' -f3 |
		sed -n 's/^ *\(.*Packages\) *$/\1/p' | sort -u)
	[ -n "$described" ] || {
		debs_say "the package sources of this host have no $package"
		return 1
	}
	# FILE:N - the N-th line of a .list, the N-th paragraph of a .sources.
	while read -r entry; do
		number=$((number + 1))
		case $entry in
		*.sources:*)
			grep -v '^#' "${entry%:*}" | awk -v RS= -v n="${entry##*:}" 'NR == n' |
				sed 's/^Types:.*/Types: deb-src/' >"$debs_apt/sources/$number.sources"
			;;
		*)
			sed -n "${entry##*:}s/^ *deb /deb-src /p" "${entry%:*}" \
				>"$debs_apt/sources/$number.list"
			;;
		esac
	done < <(debs_get indextargets --format '$(DESCRIPTION)|$(SOURCESENTRY)' "Created-By: Packages" |
		grep -F -e "$described" | cut -d'|' -f2 | sort -u)
	[ $number -gt 0 ]
}

# debs_ext4 DIR IMAGE SIZE OPTION...: a file system with what is in DIR; the options are mke2fs's. Everything in it is
# root's, also where an ordinary user makes it: a setuid program of another's would make root somebody else ("mount:
# must be superuser"). By fakeroot, as not every host has namespaces for its users.
debs_ext4() {
	local dir=$1 image=$2 size=$3 as_root=()
	shift 3
	[ "$(id -u)" = 0 ] || as_root=(fakeroot)
	"${as_root[@]}" mke2fs -q -t ext4 -E root_owner=0:0 "$@" -d "$dir" "$image" "$size" >/dev/null
}
