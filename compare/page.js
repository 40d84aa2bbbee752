// SPDX-License-Identifier: BSD-2-Clause
// The page, put together.

const HOW = {
	vmm: 'A thread of trivm moves the packets. The guest\u2019s kicks reach it by an ioeventfd, its interrupts go out by an irqfd.',
	exit: 'The same thread, the old way: each kick leaves the guest for trivm, each interrupt is a system call of its own.',
	vhost: 'A worker of the host\u2019s kernel moves the packets. trivm set it up, and takes no part.',
	backend: 'Another process moves the packets, over shared guest memory. trivm set it up, and takes no part.',
	qemu: 'QEMU\u2019s main loop moves the packets, as the VMM\u2019s thread does on vmm. It is here for comparison.',
};

function howText(road) {
	if (road.vmm === 'qemu' && road.datapath === 'vmm') return HOW.qemu;
	if (road.datapath === 'vmm' && road.notify === 'exit') return HOW.exit;
	const how = HOW[mover(road).place] || 'Who moves the packets is not known.';
	return road.vmm === 'qemu' ? how.replace('trivm', 'QEMU') : how;
}

const HINT = 'Point at an arrow, or reach it by the Tab key: what it is, and the code behind it, is told here.';

function roadCard(m, w, road, W, max) {
	const r = m.result(w.name, road.name),
		detail = el('p', { class: 'detail', 'aria-live': 'polite' }, HINT);
	const svg = drawRoad(road, r, W);
	const show = (e) => {
		const d = e.target.closest && e.target.closest('.arrow[tabindex]');
		if (d && d.detail)
			detail.replaceChildren(el('b', {}, capital(d.detail.name) + ', ' + d.detail.value + '. '), d.detail.detail);
	};
	svg.addEventListener('pointerover', show);
	svg.addEventListener('focusin', show);
	return el(
		'figure',
		{ class: 'road' },
		el(
			'figcaption',
			{},
			el('h3', {}, road.name, str(road.title) ? el('small', {}, road.title) : null),
			el('p', { class: 'how' }, howText(road)),
		),
		svg,
		shareBar(r, max),
		failures(r),
		detail,
	);
}

function shareBar(r, max) {
	const strip = el('div', { class: 'strip', 'aria-hidden': 'true' });
	for (const who of WHO) {
		const c = r.cost(who.id);
		if (c > 0) {
			const i = piece('i', 'c-' + who.hue, { width: (100 * c) / max + '%' });
			i.title = who.text + ': ' + fmt(c);
			strip.append(i);
		}
	}
	return el(
		'div',
		{ class: 'share' },
		r.total === null ? notKnown() : el('b', {}, fmt(r.total) + (r.idle ? '\u202f%' : '\u202f\u00b5s')),
		r.idle ? ' of one processor' : ' of host CPU time per packet',
		strip,
	);
}

const failures = (r) =>
	r.failed.length
		? el(
				'p',
				{ class: 'why no' },
				r.failed.length + ' of ' + r.samples.length + ' rounds failed: ' + r.failed[0].error,
			)
		: null;

const skippedCard = (s) =>
	el(
		'section',
		{ class: 'road missing', 'aria-label': s.road },
		el('h3', {}, s.road),
		el('p', { class: 'why' }, 'Not measured: ' + (str(s.reason) || 'the reason is not known') + '.'),
		str(s.remedy) ? el('p', { class: 'why' }, 'What would help: ', el('code', {}, s.remedy)) : null,
	);

function legend() {
	const mark = (...c) => el('span', { class: 'mark' }, c);
	const sample = (width, hue) =>
		sv(
			'svg',
			{ width: 56, height: 26, viewBox: '0 0 56 26', 'aria-hidden': 'true' },
			arrow(
				[
					[2, 13],
					[54, 13],
				],
				width,
				hue,
				{ on: true },
			),
		);
	const item = (m, ...t) => el('li', {}, m, el('span', {}, t));
	return el(
		'aside',
		{ class: 'legend', 'aria-label': 'Key to the diagrams' },
		el('h3', {}, 'Key'),
		el(
			'ul',
			{},
			item(
				mark(sample(THICK / 2, 'vhost')),
				'An arrow of packets is as wide as the share of CPU time of who moves them (this one: half), divided by direction. ',
				el('b', {}, '\u25b2'),
				' to the guest, ',
				el('b', {}, '\u25bc'),
				' from it.',
			),
			item(
				mark(sample(THICK / 5, 'kvm')),
				'The kick is as wide as the share that the vCPUs spend outside of the guest, in KVM and the VMM; if kicks are exits, so is the exit.',
			),
			item(
				mark(sample(2, 'guest')),
				'What costs too little to be told apart, or is paid by whom it comes from, is a thin line. When idle: all of it.',
			),
			item(
				mark(el('span', { class: 'num' }, '0.40')),
				'The number on an arrow is how often it happens per packet. When idle: in a second. \u201c?\u201d is not known.',
			),
			item(
				mark(el('span', { class: 'num' }, '75\u202f\u00b5s')),
				'The number in a box is the CPU time per packet that it spent, and its share of all. When idle: percent of a processor.',
			),
			item(
				mark(
					sv(
						'svg',
						{ width: 56, height: 20, viewBox: '0 0 56 20', 'aria-hidden': 'true' },
						sv(
							'g',
							{ class: 'arrow off' },
							sv('path', { class: 'line', d: 'M2 10H54', 'stroke-width': 1.4 }),
						),
					),
				),
				'Grey takes no part.',
			),
		),
		el(
			'p',
			{},
			'The bar below a diagram is all of that time, on the same scale for all roads. The colours are those of the diagram:',
		),
		el(
			'ul',
			{ class: 'keys' },
			WHO.map((p) => el('li', {}, swatch(p.hue), p.text)),
		),
	);
}

function drawFigures(m, w, W) {
	const max =
		Math.max(
			0,
			...m.roads.map((r) => {
				const x = m.result(w.name, r.name);
				return Math.max(x.total || 0, sum(WHO.map((p) => x.cost(p.id) || 0)));
			}),
		) || 1;
	$('figures').replaceChildren(
		...m.roads.map((road) => roadCard(m, w, road, W, max)),
		...m.skipped.map(skippedCard),
		legend(),
	);
	document.querySelectorAll('.road svg').forEach(squeeze);
}

// Diagrams are drawn for the width they get, and anew when it changes.
function figures(m) {
	if (!m.workloads.length || !m.roads.length)
		return $('figures').replaceChildren(...m.skipped.map(skippedCard), el('p', {}, 'No road was measured.'));
	let current = m.busy[0] || m.workloads[0],
		drawn = 0;
	const draw = (W) => drawFigures(m, current, (drawn = W));
	const fit = () => {
		const card = document.querySelector('.road svg');
		const W = Math.round(
			Math.min(
				470,
				Math.max(
					280,
					card
						? card.parentNode.clientWidth - 2 * parseFloat(getComputedStyle(card.parentNode).paddingLeft)
						: 400,
				),
			),
		);
		if (W !== drawn) draw(W);
	};
	$('pills').replaceChildren(
		...m.workloads.map((w) => {
			const input = el('input', { type: 'radio', name: 'workload', checked: w === current });
			input.addEventListener('change', () => {
				current = w;
				draw(drawn);
			});
			return el('label', {}, input, capital(title(w)));
		}),
	);
	draw(400);
	fit();
	new ResizeObserver(fit).observe($('figures'));
	addEventListener('beforeprint', () => draw(318)); // a third of a sheet, see page.css
	addEventListener('afterprint', fit);
}

function main() {
	const m = new Model(JSON.parse($('results').textContent));
	const at = when(m.data.when);
	document.title = 'trivm compare' + (at ? ', ' + at : '');
	heading(m);
	findings(m);
	figures(m);
	$('side-lead').textContent =
		'Every workload on every road. A bar of throughput or latency has the colour of who moves the packets; a bar of CPU time has one part for each who spent it. The line across a bar is from the least to the most of the rounds; without an end at the right it goes on beyond the axis.';
	$('keys').replaceChildren(...WHO.map((w) => el('li', {}, swatch(w.hue), w.text)));
	$('charts').replaceChildren(...drawCharts(m));
	$('tables').replaceChildren(
		...[errorsOf(m)].filter(Boolean),
		...m.workloads.map((w) => el('details', {}, el('summary', {}, capital(title(w))), dataTable(m, w))),
	);
	$('checks').replaceChildren(...[checksTable(m)].flat());
	$('settings').replaceChildren(settings(m));
	$('colophon').textContent =
		'Drawn by trivm ' +
		(str(obj(m.data.versions).trivm) || '') +
		' from compare.json, which is also within this file. It needs no network.';
}

try {
	main();
} catch (e) {
	$('notices').append(
		el(
			'div',
			{ class: 'notice', role: 'alert' },
			el(
				'p',
				{},
				'A part of this page could not be drawn: ' + e + '. The figures are in compare.json and compare.csv.',
			),
		),
	);
	throw e;
}
