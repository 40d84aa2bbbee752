// SPDX-License-Identifier: BSD-2-Clause
// The charts. Each is a table whose rows are the roads: what is drawn is also there to be read.

const notKnown = () => el('span', { class: 'nk' }, 'not known');
const swatch = (hue) => el('span', { class: 'swatch c-' + hue, 'aria-hidden': 'true' });

function piece(tag, cls, style) {
	const e = el(tag, { class: cls, 'aria-hidden': 'true' });
	Object.assign(e.style, style);
	return e;
}

// A bar of @parts ({value, hue, text}) where @max fills the track; the whisker is @range's min to max.
function track(parts, max, range, cls) {
	const t = el('div', { class: 'track ' + (cls || ''), 'aria-hidden': 'true' });
	const at = (v) => (max > 0 ? Math.max(0, Math.min(100, (100 * v) / max)) : 0);
	for (const p of parts) {
		if (!(p.value > 0)) continue;
		const b = piece('b', 'c-' + p.hue, { width: at(p.value) + '%' });
		b.title = p.text;
		t.append(b);
	}
	if (range && isNum(range.min) && isNum(range.max) && range.max > range.min)
		t.append(
			piece('i', 'whisker' + (range.max > max ? ' cut' : ''), {
				left: at(range.min) + '%',
				width: at(range.max) - at(range.min) + '%',
			}),
		);
	return t;
}

const spread = (s) => (s && isNum(s.min) && isNum(s.max) ? 'least ' + fmt(s.min) + ', most ' + fmt(s.max) : '');
// Where an axis ends: one round that went wrong shall not press all bars into a corner. A whisker that is longer than
// half as much again as the longest bar is cut there, and says so.
const axis = (stats) => {
	const bars = most(stats.map((s) => (s ? s.median : 0))),
		ends = most(stats.map((s) => (s ? s.max : 0)));
	return bars > 0 && ends > 1.5 * bars ? 1.5 * bars : Math.max(bars, ends);
};

const most = (list) => Math.max(0, ...list.flat().filter(isNum));

function chart(caption, note, rows) {
	return el(
		'table',
		{ class: 'bars' },
		el('caption', {}, caption, el('small', {}, note)),
		el(
			'tbody',
			{},
			rows.map((r) =>
				el(
					'tr',
					{},
					el('th', { scope: 'row' }, r.name),
					el('td', { title: r.title || null }, r.bars),
					[r.value].flat().map((v, i) => el('td', { class: i ? 'm' : 'v' }, v)),
				),
			),
		),
	);
}

const UNITS = { 'Mbit/s': 'Mbit/s', 'packet/s': 'packets a second', 'round trip/s': 'round trips a second' };
const unitText = (w) => UNITS[w.unit] || str(w.unit) || '';

function throughputChart(m, w) {
	const stats = m.roads.map((road) => m.result(w.name, road.name).stat('throughput'));
	const max = axis(stats);
	return chart(
		'Throughput',
		unitText(w) + (w.better === 'less' ? '; shorter is better' : '; longer is better'),
		m.roads.map((road, i) => {
			const s = stats[i],
				loss = m.result(w.name, road.name).get('loss_percent');
			return {
				name: road.name,
				title: spread(s),
				bars: s ? track([{ value: s.median, hue: mover(road).hue, text: fmt(s.median) }], max, s) : null,
				value: [s ? fmt(s.median) : notKnown(), loss === null ? [] : fmt(loss) + '\u202f% lost'].flat(),
			};
		}),
	);
}

const LATENCY = [
	['latency_p50_us', 'p50', ''],
	['latency_p99_us', 'p99', 'thin2'],
	['latency_p999_us', 'p99.9', 'thin3'],
];

function latencyChart(m, w) {
	const results = m.roads.map((road) => m.result(w.name, road.name));
	const max = axis(results.flatMap((r) => LATENCY.map(([k]) => r.stat(k))));
	const [unit, scale] = max >= 10000 ? ['ms', 1000] : ['\u00b5s', 1];
	return chart(
		'Round trip, p50 \u00b7 p99 \u00b7 p99.9',
		unit + '; shorter is better',
		m.roads.map((road, i) => {
			const stats = LATENCY.map(([k]) => results[i].stat(k));
			return {
				name: road.name,
				title: LATENCY.map(
					([, n], k) =>
						n + ': ' + (stats[k] ? fmt(stats[k].median) + ' \u00b5s, ' + spread(stats[k]) : 'not known'),
				).join('\n'),
				bars: LATENCY.map(([, n, cls], k) =>
					track(
						stats[k] ? [{ value: stats[k].median, hue: mover(road).hue, text: n }] : [],
						max,
						stats[k],
						'thin ' + cls,
					),
				),
				value: stats.some(Boolean) ? stats.map((s) => (s ? fmt(s.median / scale) : notKnown())) : notKnown(),
			};
		}),
	);
}

function costChart(m, w) {
	const results = m.roads.map((road) => m.result(w.name, road.name)),
		idle = results.some((r) => r.idle);
	const parts = results.map((r) =>
		WHO.map((who) => ({ hue: who.hue, value: r.cost(who.id), text: who.text + ': ' + fmt(r.cost(who.id)) })),
	);
	const max = axis(
		results.map((r, i) => ({
			median: sum(parts[i].map((p) => p.value || 0)),
			max: (r.stat(r.costName('')) || {}).max,
		})),
	);
	return chart(
		idle ? 'CPU time' : 'Host CPU time per packet',
		(idle ? 'percent of one processor' : '\u00b5s, by who spent it') +
			', in the round in the middle; shorter is better',
		m.roads.map((road, i) => {
			const r = results[i],
				s = r.stat(r.costName(''));
			return {
				name: road.name,
				title: [spread(s), ...parts[i].filter((p) => p.value > 0).map((p) => p.text)].join('\n'),
				bars: track(parts[i], max, s),
				value: r.total === null ? notKnown() : fmt(r.total),
			};
		}),
	);
}

function exitsChart(m, w) {
	const results = m.roads.map((road) => m.result(w.name, road.name)),
		idle = results.some((r) => r.idle);
	const per = idle ? '_per_s' : '_per_packet';
	const all = results.map((r) => r.stat('exits' + per)),
		user = results.map((r) => r.stat('exits_user' + per));
	const max = axis([...all, ...user]);
	return chart(
		idle ? 'Exits a second' : 'Exits per packet',
		'to user space (solid), of all (pale)',
		m.roads.map((road, i) => {
			const t = track(
				user[i] ? [{ value: user[i].median, hue: 'kvm', text: 'to user space' }] : [],
				max,
				user[i],
			);
			if (all[i] && max > 0) t.prepend(piece('span', 'all', { width: (100 * all[i].median) / max + '%' }));
			return {
				name: road.name,
				title: 'to user space: ' + spread(user[i]) + '\nall: ' + spread(all[i]),
				bars: t,
				value: [
					user[i] ? fmt(user[i].median) : notKnown(),
					'of ' + (all[i] ? fmt(all[i].median) : 'not known'),
				],
			};
		}),
	);
}

function drawCharts(m) {
	return m.workloads.map((w) => {
		const results = m.roads.map((road) => m.result(w.name, road.name));
		const latency = results.some((r) => LATENCY.some(([k]) => r.get(k) !== null));
		const work = latency ? latencyChart(m, w) : str(w.unit) ? throughputChart(m, w) : switchesChart(m, w);
		return el(
			'div',
			{ class: 'chartrow' },
			el('h3', {}, capital(title(w)), el('small', {}, w.name)),
			work,
			costChart(m, w),
			exitsChart(m, w),
		);
	});
}

function switchesChart(m, w) {
	const stats = m.roads.map((road) => m.result(w.name, road.name).stat('switches_per_s'));
	const max = axis(stats);
	return chart(
		'Context switches',
		'a second; shorter is better',
		m.roads.map((road, i) => ({
			name: road.name,
			title: spread(stats[i]),
			bars: stats[i] ? track([{ value: stats[i].median, hue: 'other', text: '' }], max, stats[i]) : null,
			value: stats[i] ? fmt(stats[i].median) : notKnown(),
		})),
	);
}

// The tables of all figures. [name, text, part of the row above]; a name that ends with "*" is a count, one with "@"
// a cost: per packet, or per second.
const ROWS = [
	['Work done'],
	['throughput', 'Throughput'],
	['loss_percent', 'Lost, % of what was sent'],
	['latency_p50_us', 'Round trip p50, \u00b5s'],
	['latency_p99_us', 'Round trip p99, \u00b5s'],
	['latency_p999_us', 'Round trip p99.9, \u00b5s'],
	['packets', 'Packets across the tap'],
	['packets_to_guest', 'to the guest', true],
	['packets_from_guest', 'from the guest', true],
	['bytes', 'Bytes in them'],
	['packets_dropped', 'Dropped by the tap'],
	['seconds', 'Seconds'],
	['Counts'],
	['exits*', 'Exits, all'],
	['exits_user*', 'Exits to user space'],
	['exits_mmio*', 'for memory-mapped registers', true],
	['exits_pio*', 'for ports', true],
	['exits_other*', 'for other reasons', true],
	['halts*', 'Halts'],
	['kicks*', 'Kicks'],
	['interrupts*', 'Interrupts of the NIC'],
	['injections*', 'Interrupts injected, all'],
	['switches*', 'Context switches'],
	['Host CPU time'],
	['cpu@', 'All'],
	...WHO.map((w) => ['cpu_' + w.id + '@', capital(w.text)]),
	['cpu_percent', 'All, % of one processor'],
	['cpu_host_percent', 'The whole host, % of one processor'],
];

const cell = (s) =>
	el(
		'td',
		{},
		s
			? [
					fmt(s.median),
					s.n === 1 ||
					s.min === null ||
					s.max === null ||
					(fmt(s.min) === fmt(s.max) && fmt(s.min) === fmt(s.median))
						? null
						: el('small', {}, fmt(s.min) + ' \u2013 ' + fmt(s.max)),
				]
			: notKnown(),
	);

function dataTable(m, w) {
	const results = m.roads.map((road) => m.result(w.name, road.name)),
		idle = results.some((r) => r.idle);
	const rows = ROWS.map(([name, label, part]) => {
		if (label === undefined)
			return el('tr', { class: 'group' }, el('th', { scope: 'rowgroup', colspan: m.roads.length + 1 }, name));
		const key = name
			.replace('*', idle ? '_per_s' : '_per_packet')
			.replace('@', idle ? '_percent' : '_us_per_packet');
		const stats = results.map((r) => r.stat(key));
		if (!stats.some(Boolean)) return null;
		const unit =
			name === 'throughput'
				? ', ' + unitText(w)
				: name.endsWith('*')
					? idle
						? ', a second'
						: ', per packet'
					: name.endsWith('@')
						? idle
							? ', %'
							: ', \u00b5s per packet'
						: '';
		return el('tr', {}, el('th', { scope: 'row', class: part ? 'part' : null }, label + unit), stats.map(cell));
	});
	return scroll(
		title(w),
		el(
			'table',
			{ class: 'data' },
			el(
				'thead',
				{},
				el(
					'tr',
					{},
					el('th', { scope: 'col' }, title(w)),
					m.roads.map((r) => el('th', { scope: 'col' }, r.name)),
				),
			),
			el('tbody', {}, rows),
		),
	);
}

// Wide tables scroll by themselves, also by keyboard; the page never does.
const scroll = (label, table) =>
	el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Table: ' + label }, table);
