// SPDX-License-Identifier: BSD-2-Clause
// What is at the head of the page: what was measured, what has to be known first, and sentences made from the figures.

const list = (words) =>
	words.length < 2 ? words.join('') : words.slice(0, -1).join(', ') + ' and ' + words[words.length - 1];
const range = (values) => {
	const lo = fmt(Math.min(...values)),
		hi = fmt(Math.max(...values));
	return lo === hi ? lo : lo + ' to ' + hi;
};

function when(text) {
	const d = new Date(str(text) || NaN);
	return isNaN(d)
		? null
		: d.toLocaleDateString('en-GB', { day: 'numeric', month: 'long', year: 'numeric', timeZone: 'UTC' }) +
				', ' +
				d.toISOString().slice(11, 16) +
				' UTC';
}

function heading(m) {
	const { host, settings, when: at, duration_s: duration } = m.data,
		h = obj(host),
		s = obj(settings);
	$('deck').textContent =
		'One guest, one virtio NIC, ' +
		(m.roads.length === 1
			? 'one road'
			: (['no', 'one', 'two', 'three', 'four', 'five', 'six'][m.roads.length] || m.roads.length) + ' roads') +
		' for its packets' +
		(m.roads.length ? ': ' + list(m.roads.map((r) => r.name)) : '') +
		'. Each was measured in turn on the same host, so that what disturbs one disturbs all.';
	const fact = (name, value) => (value === null ? null : el('li', {}, name + ' ', el('b', {}, value)));
	$('facts').append(
		...[
			fact('', when(at)),
			fact(
				'host',
				str(h.cpu) &&
					h.cpu + (isNum(h.cpus) ? ', ' + h.cpus + (h.cpus === 1 ? ' processor' : ' processors') : ''),
			),
			fact('kernel', str(h.kernel)),
			fact('rounds', isNum(s.rounds) ? s.rounds + (isNum(s.seconds) ? ' of ' + s.seconds + ' s' : '') : null),
			fact(
				'took',
				isNum(duration) ? Math.floor(duration / 60) + ' min ' + Math.round(duration % 60) + ' s' : null,
			),
		].filter(Boolean),
	);
	const groups = [],
		skipped = [];
	if (m.data.format !== 'trivm-compare')
		groups.push([['These results do not say that they are of trivm compare. What can be shown is shown.']]);
	if (m.data.complete === false)
		groups.push([[el('strong', {}, 'The run was interrupted. '), 'This is what was measured until then.']]);
	if (h.hypervisor === true)
		groups.push([
			[
				el('strong', {}, 'The host is itself a virtual machine, or emulated. '),
				'Counts (exits, kicks, interrupts) are what they are anywhere. ',
				'Times and throughput compare these roads on this host, and say little about hardware: an exit, above all, costs something else there.',
			],
		]);
	for (const k of m.skipped)
		skipped.push([
			el('strong', {}, k.road + ' was not measured: '),
			(str(k.reason) || 'the reason is not known') + '. ',
			str(k.remedy) ? ['What would help: ', el('code', {}, k.remedy)] : null,
		]);
	if (skipped.length) groups.push(skipped);
	$('notices').replaceChildren(
		...groups.map((g) =>
			el(
				'div',
				{ class: 'notice', role: 'note' },
				g.map((n) => el('p', {}, n)),
			),
		),
	);
}

// Sentences made from the figures. A finding that the figures do not bear out says so.
function findings(m) {
	const out = [],
		busy = m.busy,
		of = (road, f) => busy.map((w) => f(m.result(w.name, road))).filter(isNum);
	const add = (big, ...rest) => out.push(el('li', {}, el('span', { class: 'big' }, big), rest));
	const verdict = (ok, yes, no) =>
		el('span', { class: 'verdict ' + (ok ? 'yes' : 'no') }, ok ? '\u2713 ' + yes : '\u2717 ' + no);
	const order = ['vmm+exit', 'vmm', 'vhost-net'].filter((n) => of(n, (r) => r.count('exits_user')).length);
	if (order.length > 1) {
		// What an ioeventfd leaves is not the packets': timers, other devices. There is nothing to fall further.
		const few = (w, n) => {
			const v = m.result(w.name, n).count('exits_user'),
				e = m.result(w.name, 'vmm+exit').count('exits_user');
			return v === null || (v < 0.1 && (e === null || v < e / 2));
		};
		const good = busy.filter((w) => order.every((n) => n === 'vmm+exit' || few(w, n)));
		add(
			order.map((n) => fmt(medianOf(of(n, (r) => r.count('exits_user'))))).join(' \u2192 '),
			'exits to user space per packet, ' + list(order) + '. ',
			verdict(
				good.length === busy.length,
				'Where an ioeventfd takes the kicks, next to none are left.',
				'Next to none should be left where an ioeventfd takes the kicks. That is so in ' +
					good.length +
					' of ' +
					busy.length +
					' workloads.',
			),
		);
	}
	const outside = ['vhost-net', 'vhost-user'].filter((n) => of(n, (r) => r.share('datapath')).length);
	if (outside.length) {
		const worst = Math.max(
			...outside.flatMap((n) => of(n, (r) => (r.share('datapath') || 0) + (r.share('other') || 0))),
		);
		add(
			percent(worst),
			'of the CPU time at most is spent by trivm\u2019s own threads, vCPUs aside, on ' + list(outside) + '. ',
			verdict(worst <= 0.02, 'The VMM takes no part.', 'That is not the nothing that it should be.'),
		);
	}
	best(m, busy, add);
	$('findings').replaceChildren(...out);
	$('shows').hidden = !out.length;
}

const medianOf = (v) => [...v].sort((a, b) => a - b)[Math.floor(v.length / 2)];

// The roads of a workload by @key, the best first; and those at either end that the rounds' spread does not tell apart
// from the first, or from the last. An order is only stated of two whose ranges, from least to most, do not overlap.
function ranked(m, w, key, less) {
	const all = m.roads
		.map((r) => ({ name: r.name, stat: m.result(w.name, r.name).stat(key) }))
		.filter((x) => x.stat)
		.map((x) => ({
			name: x.name,
			median: x.stat.median,
			lo: isNum(x.stat.min) ? x.stat.min : x.stat.median,
			hi: isNum(x.stat.max) ? x.stat.max : x.stat.median,
			n: x.stat.n,
		}))
		.sort((a, b) => (less ? a.median - b.median : b.median - a.median));
	if (all.length < 2) return null;
	const overlap = (a, b) => a.lo <= b.hi && b.lo <= a.hi,
		first = all[0],
		last = all[all.length - 1];
	return {
		all,
		first,
		last,
		apart: !overlap(first, last) && all.every((x) => x.n === null || x.n > 1),
		best: all.filter((x) => overlap(x, first) && !overlap(x, last)).map((x) => x.name),
		worst: all.filter((x) => overlap(x, last) && !overlap(x, first)).map((x) => x.name),
	};
}

function best(m, busy, add) {
	for (const [name, text] of [
		['tcp-out', 'Mbit/s of TCP from the guest'],
		['udp-out', '64-byte frames a second from the guest'],
	]) {
		const w = busy.find((x) => x.name === name),
			c = w && ranked(m, w, 'throughput');
		if (c)
			add(
				fmt(c.last.median) + ' to ' + fmt(c.first.median),
				text +
					(c.apart
						? ': least on ' + list(c.worst) + ', most on ' + list(c.best) + '.'
						: ': no difference beyond the spread of the rounds.'),
			);
	}
	const cheap = busy.map((w) => ranked(m, w, 'cpu_us_per_packet', true)).filter(Boolean);
	if (!cheap.length) return;
	const clear = cheap.filter((c) => c.apart);
	if (!clear.length)
		return add('\u2248', 'CPU time per packet: no difference between the roads beyond the spread of the rounds.');
	const names = [...new Set(clear.map((c) => list(c.best)))];
	add(
		names.length === 1 ? names[0] : names.join(' / '),
		'cost the least CPU time per packet' +
			(names.length === 1 ? '' : ', each in some workloads') +
			'. The dearest road of a workload took ' +
			range(clear.map((c) => c.last.median / c.first.median).filter(isNum)) +
			' times as much as the cheapest.' +
			(clear.length < cheap.length
				? ' In ' + (cheap.length - clear.length) + ' of ' + cheap.length + ' workloads there is no difference beyond the spread of the rounds.'
				: ''),
	);
}
