// SPDX-License-Identifier: BSD-2-Clause
// What is at the end of the page: checks, how it was measured, what failed.

// How far the two counts of a check are apart: in percent, or, where the outside one is 0 and there is no percentage,
// as a number.
function difference(c) {
	const ours = obj(c.ours).value,
		outside = obj(c.outside).value;
	if (isNum(c.difference_percent)) return c.difference_percent.toFixed(2) + '\u202f%';
	if (isNum(ours) && isNum(outside)) return fmt(ours - outside);
	return c.ok === null || c.ok === undefined ? '\u2013' : notKnown();
}

function checksTable(m) {
	if (!m.checks.length) return el('p', {}, 'There are none in these results.');
	const whole = (v) => (isNum(v) ? String(Math.round(v)).replace(/\B(?=(\d{3})+(?!\d))/g, '\u202f') : notKnown());
	const side = (x) => [whole(obj(x).value), el('small', {}, str(obj(x).source) || 'source not known')];
	const mark = (c) =>
		c.ok === true
			? el('span', { class: 'yes' }, '\u2713 agrees')
			: c.ok === false
				? el('span', { class: 'no' }, '\u2717 differs')
				: [el('span', { class: 'nk' }, 'not checked'), str(c.reason) ? el('small', {}, c.reason) : null];
	const bad = m.checks.filter((c) => c.ok === false).length,
		good = m.checks.filter((c) => c.ok === true).length;
	return [
		el(
			'p',
			{},
			good +
				' agree' +
				(bad ? ', ' + bad + ' differ' : '') +
				(m.checks.length - good - bad ? ', ' + (m.checks.length - good - bad) + ' could not be checked' : '') +
				'.',
		),
		scroll(
			'checks',
			el(
				'table',
				{ class: 'data checks' },
				el(
					'thead',
					{},
					el(
						'tr',
						{},
						['Of', 'Road', 'Counted by trivm', 'Counted outside', 'Difference', 'Allowed', ''].map((t) =>
							el('th', { scope: 'col' }, t),
						),
					),
				),
				el(
					'tbody',
					{},
					m.checks.map((c) =>
						el(
							'tr',
							{},
							el('th', { scope: 'row' }, str(c.what) || 'not known'),
							el('td', {}, str(c.road) || ''),
							el('td', {}, side(c.ours)),
							el('td', {}, side(c.outside)),
							el('td', {}, difference(c)),
							el('td', {}, isNum(c.limit_percent) ? c.limit_percent + '\u202f%' : ''),
							el('td', {}, mark(c)),
						),
					),
				),
			),
		),
	];
}

const value = (v) => (v === null || v === undefined || v === '' ? notKnown() : String(v));
const dl = (rows) =>
	el(
		'dl',
		{},
		rows.map(([k, v]) => [el('dt', {}, k), el('dd', {}, v && v.nodeType ? v : value(v))]),
	);
const code = (s) => (str(s) ? el('code', {}, s) : null);

function settings(m) {
	const d = m.data,
		h = obj(d.host),
		g = obj(d.guest),
		v = obj(d.versions),
		s = obj(d.settings);
	const unused = (x) => str(x) || 'not used';
	const pins = (p) => (Array.isArray(p) ? 'processors ' + p.join(', ') : p === undefined ? null : 'not pinned');
	const kvm = {
		hardware: 'the processor\u2019s virtualization',
		full: 'full (without the processor\u2019s word for it)',
	};
	const features = m.roads.map((r) => arr(r.feature_names).filter(str));
	const known = features.filter((f) => f.length),
		common = (known[0] || []).filter((n) => known.every((f) => f.includes(n)));
	const own = (i) => features[i].filter((n) => !common.includes(n));
	const chips = (names) =>
		el(
			'ul',
			{ class: 'chips' },
			names.map((n) => el('li', {}, el('code', {}, n))),
		);
	const row = (name, f) =>
		el(
			'tr',
			{},
			el('th', { scope: 'row' }, name),
			m.roads.map((r, i) => {
				const x = f(r, i);
				return el('td', {}, x && x.nodeType ? x : value(x));
			}),
		);
	return el(
		'div',
		{ class: 'settings' },
		el(
			'div',
			{ class: 'pair' },
			el(
				'div',
				{},
				el('h3', {}, 'Host'),
				dl([
					['processor', str(h.cpu)],
					['processors', num(h.cpus)],
					['memory', bytes(h.memory)],
					['kernel', str(h.kernel)],
					['KVM', kvm[h.kvm] || str(h.kvm)],
					['itself virtual', h.hypervisor === true ? 'yes' : h.hypervisor === false ? 'no' : null],
				]),
			),
			el(
				'div',
				{},
				el('h3', {}, 'Guest'),
				dl([
					['kernel', str(g.kernel)],
					['processors', num(g.cpus)],
					['memory', bytes(g.memory)],
					['parameters', code(g.params)],
					['image', code(g.image)],
					['initrd', code(g.initrd)],
				]),
			),
			el(
				'div',
				{},
				el('h3', {}, 'Run'),
				dl([
					['command', code(arr(d.command).filter(str).join(' '))],
					['rounds', num(s.rounds)],
					['each workload', isNum(s.seconds) ? s.seconds + ' s' : null],
					['warm-up', isNum(s.warmup_s) ? s.warmup_s + ' s, not counted' : null],
					['transport asked for', str(s.transport)],
					['ring asked for', str(s.ring)],
					['pinning', pins(s.pinning)],
				]),
			),
			el(
				'div',
				{},
				el('h3', {}, 'Versions'),
				dl([
					['trivm', unused(v.trivm)],
					['trivm-switch', unused(v.trivm_switch)],
					['QEMU', unused(v.qemu)],
					['iperf3', unused(v.iperf3)],
				]),
			),
		),
		el('h3', {}, 'Each road'),
		scroll(
			'settings of each road',
			el(
				'table',
				{ class: 'data text' },
				el(
					'thead',
					{},
					el(
						'tr',
						{},
						el('th', { scope: 'col' }, 'Road'),
						m.roads.map((r) => el('th', { scope: 'col' }, r.name)),
					),
				),
				el(
					'tbody',
					{},
					row('datapath', (r) => str(r.datapath)),
					row('kicks by', (r) => str(r.notify)),
					row('interrupts by', (r) => str(r.inject)),
					row('back-end', (r) => (r.backend === null ? 'none' : str(r.backend))),
					row('ring', (r) => str(r.ring)),
					row('queue size', (r) => num(r.queue_size)),
					row('queue pairs', (r) => num(r.pairs)),
					row('transport', (r) => str(r.transport)),
					row('vCPUs on', (r) => pins(r.pinning)),
					row('tap', (r) => str(r.tap)),
					row('started in', (r) => (isNum(r.boot_s) ? fmt(r.boot_s) + ' s' : null)),
					row('features', (r) => code(r.features)),
					known.length && m.roads.some((r, i) => own(i).length)
						? row('of its own', (r, i) => (own(i).length ? chips(own(i)) : 'none'))
						: null,
					row('command', (r) => code(r.command)),
				),
			),
		),
		el('h3', {}, known.length > 1 ? 'Features that all roads negotiated' : 'Features negotiated'),
		common.length ? chips(common) : el('p', {}, notKnown()),
	);
}

function errorsOf(m) {
	const bad = m.results.filter((r) => r.failed.length);
	return bad.length
		? el(
				'div',
				{ class: 'notice', role: 'note' },
				bad.flatMap((r) =>
					r.failed.map((s) =>
						el(
							'p',
							{},
							el(
								'strong',
								{},
								[r.raw.workload, r.raw.road].map((x) => str(x) || 'not known').join(' on ') +
									', round ' +
									(num(s.round) || 'not known') +
									' failed: ',
							),
							s.error,
						),
					),
				),
			)
		: null;
}
