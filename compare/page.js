// SPDX-License-Identifier: BSD-2-Clause
// The page, put together.

const list = (words) => (words.length < 2 ? words.join('') : words.slice(0, -1).join(', ') + ' and ' + words[words.length - 1]);
const range = (values) => {
	const lo = fmt(Math.min(...values)), hi = fmt(Math.max(...values));
	return lo === hi ? lo : lo + ' to ' + hi;
};

const HOW = {
	vmm: 'A thread of trivm moves the packets. The guest\u2019s kicks reach it by an ioeventfd, its interrupts go out by an irqfd.',
	exit: 'The same thread, the old way: each kick leaves the guest for trivm, each interrupt is a system call of its own.',
	vhost: 'A worker of the host\u2019s kernel moves the packets. trivm set it up, and takes no part.',
	backend: 'Another process moves the packets, over shared guest memory. trivm set it up, and takes no part.',
	qemu: 'QEMU\u2019s main loop moves the packets, as the VMM\u2019s thread does on vmm. It is here for comparison.',
};

function howText(road) {
	if (road.vmm === 'qemu' && road.datapath === 'vmm')
		return HOW.qemu;
	if (road.datapath === 'vmm' && road.notify === 'exit')
		return HOW.exit;
	const how = HOW[mover(road).place] || 'Who moves the packets is not known.';
	return road.vmm === 'qemu' ? how.replace('trivm', 'QEMU') : how;
}

const HINT = 'Point at an arrow, or reach it by the Tab key: what it is, and the code behind it, is told here.';

function roadCard(m, w, road, W, max) {
	const r = m.result(w.name, road.name), detail = el('p', { class: 'detail', 'aria-live': 'polite' }, HINT);
	const svg = drawRoad(road, r, W);
	const show = (e) => {
		const d = e.target.closest && e.target.closest('.arrow[tabindex]');
		if (d && d.detail)
			detail.replaceChildren(el('b', {}, capital(d.detail.name) + ', ' + d.detail.value + '. '), d.detail.detail);
	};
	svg.addEventListener('pointerover', show);
	svg.addEventListener('focusin', show);
	return el('figure', { class: 'road' },
		el('figcaption', {}, el('h3', {}, road.name, str(road.title) ? el('small', {}, road.title) : null), el('p', { class: 'how' }, howText(road))),
		svg, shareBar(r, max), failures(r), detail);
}

function shareBar(r, max) {
	const strip = el('div', { class: 'strip', 'aria-hidden': 'true' });
	for (const who of WHO) {
		const c = r.cost(who.id);
		if (c > 0) {
			const i = piece('i', 'c-' + who.hue, { width: 100 * c / max + '%' });
			i.title = who.text + ': ' + fmt(c);
			strip.append(i);
		}
	}
	return el('div', { class: 'share' }, r.total === null ? notKnown() : el('b', {}, fmt(r.total) + (r.idle ? '\u202f%' : '\u202f\u00b5s')),
		r.idle ? ' of one processor' : ' of host CPU time per packet', strip);
}

const failures = (r) => (r.failed.length ? el('p', { class: 'why no' }, r.failed.length + ' of ' + r.samples.length + ' rounds failed: ' + r.failed[0].error) : null);

const skippedCard = (s) => el('section', { class: 'road missing', 'aria-label': s.road }, el('h3', {}, s.road),
	el('p', { class: 'why' }, 'Not measured: ' + (str(s.reason) || 'the reason is not known') + '.'),
	str(s.remedy) ? el('p', { class: 'why' }, 'What would help: ', el('code', {}, s.remedy)) : null);

function legend() {
	const mark = (...c) => el('span', { class: 'mark' }, c);
	const sample = (width, hue) => sv('svg', { width: 56, height: 26, viewBox: '0 0 56 26', 'aria-hidden': 'true' }, arrow([[2, 13], [54, 13]], width, hue, { on: true }));
	const item = (m, ...t) => el('li', {}, m, el('span', {}, t));
	return el('aside', { class: 'legend', 'aria-label': 'Key to the diagrams' }, el('h3', {}, 'Key'), el('ul', {},
		item(mark(sample(THICK / 2, 'vhost')), 'An arrow of packets is as wide as the share of CPU time of who moves them (this one: half), divided by direction. ',
			el('b', {}, '\u25b2'), ' to the guest, ', el('b', {}, '\u25bc'), ' from it.'),
		item(mark(sample(THICK / 5, 'kvm')), 'The kick is as wide as the share that the vCPUs spend outside of the guest, in KVM and the VMM; if kicks are exits, so is the exit.'),
		item(mark(sample(2, 'guest')), 'What costs too little to be told apart, or is paid by whom it comes from, is a thin line. When idle: all of it.'),
		item(mark(el('span', { class: 'num' }, '0.40')), 'The number on an arrow is how often it happens per packet. When idle: in a second. \u201c?\u201d is not known.'),
		item(mark(el('span', { class: 'num' }, '75\u202f\u00b5s')), 'The number in a box is the CPU time per packet that it spent, and its share of all. When idle: percent of a processor.'),
		item(mark(sv('svg', { width: 56, height: 20, viewBox: '0 0 56 20', 'aria-hidden': 'true' }, sv('g', { class: 'arrow off' }, sv('path', { class: 'line', d: 'M2 10H54', 'stroke-width': 1.4 })))), 'Grey takes no part.')),
		el('p', {}, 'The bar below a diagram is all of that time, on the same scale for all roads. The colours are those of the diagram:'),
		el('ul', { class: 'keys' }, WHO.map((p) => el('li', {}, swatch(p.hue), p.text))));
}

function drawFigures(m, w, W) {
	const max = Math.max(0, ...m.roads.map((r) => { const x = m.result(w.name, r.name); return Math.max(x.total || 0, sum(WHO.map((p) => x.cost(p.id) || 0))); })) || 1;
	$('figures').replaceChildren(...m.roads.map((road) => roadCard(m, w, road, W, max)), ...m.skipped.map(skippedCard), legend());
	document.querySelectorAll('.road svg').forEach(squeeze);
}

// Diagrams are drawn for the width they get, and anew when it changes.
function figures(m) {
	if (!m.workloads.length || !m.roads.length)
		return $('figures').replaceChildren(...m.skipped.map(skippedCard), el('p', {}, 'No road was measured.'));
	let current = m.busy[0] || m.workloads[0], drawn = 0;
	const draw = (W) => drawFigures(m, current, drawn = W);
	const fit = () => {
		const card = document.querySelector('.road svg');
		const W = Math.round(Math.min(470, Math.max(280, card ? card.parentNode.clientWidth - 2 * parseFloat(getComputedStyle(card.parentNode).paddingLeft) : 400)));
		if (W !== drawn)
			draw(W);
	};
	$('pills').replaceChildren(...m.workloads.map((w) => {
		const input = el('input', { type: 'radio', name: 'workload', checked: w === current });
		input.addEventListener('change', () => { current = w; draw(drawn); });
		return el('label', {}, input, capital(title(w)));
	}));
	draw(400);
	fit();
	new ResizeObserver(fit).observe($('figures'));
	addEventListener('beforeprint', () => draw(318)); // a third of a sheet, see page.css
	addEventListener('afterprint', fit);
}

function when(text) {
	const d = new Date(str(text) || NaN);
	return isNaN(d) ? null : d.toLocaleDateString('en-GB', { day: 'numeric', month: 'long', year: 'numeric', timeZone: 'UTC' }) + ', '
		+ d.toISOString().slice(11, 16) + ' UTC';
}

function heading(m) {
	const { host, settings, when: at, duration_s: duration } = m.data, h = obj(host), s = obj(settings);
	$('deck').textContent = 'One guest, one virtio NIC, ' + (m.roads.length === 1 ? 'one road' : (['no', 'one', 'two', 'three', 'four', 'five', 'six'][m.roads.length] || m.roads.length) + ' roads') + ' for its packets'
		+ (m.roads.length ? ': ' + list(m.roads.map((r) => r.name)) : '') + '. Each was measured in turn on the same host, so that what disturbs one disturbs all.';
	const fact = (name, value) => (value === null ? null : el('li', {}, name + ' ', el('b', {}, value)));
	$('facts').append(...[fact('', when(at)), fact('host', str(h.cpu) && h.cpu + (isNum(h.cpus) ? ', ' + h.cpus + (h.cpus === 1 ? ' processor' : ' processors') : '')),
		fact('kernel', str(h.kernel)), fact('rounds', isNum(s.rounds) ? s.rounds + (isNum(s.seconds) ? ' of ' + s.seconds + ' s' : '') : null),
		fact('took', isNum(duration) ? Math.floor(duration / 60) + ' min ' + Math.round(duration % 60) + ' s' : null)].filter(Boolean));
	const groups = [], skipped = [];
	if (m.data.format !== 'trivm-compare')
		groups.push([['These results do not say that they are of trivm compare. What can be shown is shown.']]);
	if (m.data.complete === false)
		groups.push([[el('strong', {}, 'The run was interrupted. '), 'This is what was measured until then.']]);
	if (h.hypervisor === true)
		groups.push([[el('strong', {}, 'The host is itself a virtual machine, or emulated. '), 'Counts (exits, kicks, interrupts) are what they are anywhere. ',
			'Times and throughput compare these roads on this host, and say little about hardware: an exit, above all, costs something else there.']]);
	for (const k of m.skipped)
		skipped.push([el('strong', {}, k.road + ' was not measured: '), (str(k.reason) || 'the reason is not known') + '. ', str(k.remedy) ? ['What would help: ', el('code', {}, k.remedy)] : null]);
	if (skipped.length)
		groups.push(skipped);
	$('notices').replaceChildren(...groups.map((g) => el('div', { class: 'notice', role: 'note' }, g.map((n) => el('p', {}, n)))));
}

// Sentences made from the figures. A finding that the figures do not bear out says so.
function findings(m) {
	const out = [], busy = m.busy, of = (road, f) => busy.map((w) => f(m.result(w.name, road))).filter(isNum);
	const add = (big, ...rest) => out.push(el('li', {}, el('span', { class: 'big' }, big), rest));
	const verdict = (ok, yes, no) => el('span', { class: 'verdict ' + (ok ? 'yes' : 'no') }, ok ? '\u2713 ' + yes : '\u2717 ' + no);
	const order = ['vmm+exit', 'vmm', 'vhost-net'].filter((n) => of(n, (r) => r.count('exits_user')).length);
	if (order.length > 1) {
		// What an ioeventfd leaves is not the packets': timers, other devices. There is nothing to fall further.
		const few = (w, n) => { const v = m.result(w.name, n).count('exits_user'), e = m.result(w.name, 'vmm+exit').count('exits_user'); return v === null || (v < 0.1 && (e === null || v < e / 2)); };
		const good = busy.filter((w) => order.every((n) => n === 'vmm+exit' || few(w, n)));
		add(order.map((n) => fmt(medianOf(of(n, (r) => r.count('exits_user'))))).join(' \u2192 '), 'exits to user space per packet, ' + list(order) + '. ',
			verdict(good.length === busy.length, 'Where an ioeventfd takes the kicks, next to none are left.',
				'Next to none should be left where an ioeventfd takes the kicks. That is so in ' + good.length + ' of ' + busy.length + ' workloads.'));
	}
	const outside = ['vhost-net', 'vhost-user'].filter((n) => of(n, (r) => r.share('datapath')).length);
	if (outside.length) {
		const worst = Math.max(...outside.flatMap((n) => of(n, (r) => (r.share('datapath') || 0) + (r.share('other') || 0))));
		add(percent(worst), 'of the CPU time at most is spent by trivm\u2019s own threads, vCPUs aside, on ' + list(outside) + '. ',
			verdict(worst <= 0.02, 'The VMM takes no part.', 'That is not the nothing that it should be.'));
	}
	best(m, busy, add);
	$('findings').replaceChildren(...out);
	$('shows').hidden = !out.length;
}

const medianOf = (v) => [...v].sort((a, b) => a - b)[Math.floor(v.length / 2)];

function best(m, busy, add) {
	const pick = (w, key, less) => {
		const c = m.roads.map((r) => [r.name, m.result(w.name, r.name).get(key)]).filter((x) => x[1] !== null);
		return c.length > 1 ? c.sort((a, b) => (less ? a[1] - b[1] : b[1] - a[1])) : null;
	};
	for (const [name, text] of [['tcp-out', 'Mbit/s of TCP from the guest'], ['udp-out', '64-byte frames a second from the guest']]) {
		const w = busy.find((x) => x.name === name), c = w && pick(w, 'throughput');
		if (c)
			add(fmt(c[c.length - 1][1]) + ' to ' + fmt(c[0][1]), text + ': least on ' + c[c.length - 1][0] + ', most on ' + c[0][0] + '.');
	}
	const cheap = busy.map((w) => pick(w, 'cpu_us_per_packet', true)).filter(Boolean);
	if (!cheap.length)
		return;
	const names = [...new Set(cheap.map((c) => c[0][0]))];
	const ratios = cheap.map((c) => c[c.length - 1][1] / c[0][1]).filter(isNum);
	add(names.length === 1 ? names[0] : list(names), 'cost the least CPU time per packet. The dearest road of a workload took ' + range(ratios) + ' times as much as the cheapest.');
}

function checksTable(m) {
	if (!m.checks.length)
		return el('p', {}, 'There are none in these results.');
	const whole = (v) => (isNum(v) ? String(Math.round(v)).replace(/\B(?=(\d{3})+(?!\d))/g, '\u202f') : notKnown());
	const side = (x) => [whole(obj(x).value), el('small', {}, str(obj(x).source) || 'source not known')];
	const mark = (c) => (c.ok === true ? el('span', { class: 'yes' }, '\u2713 agrees') : c.ok === false ? el('span', { class: 'no' }, '\u2717 differs')
		: [el('span', { class: 'nk' }, 'not checked'), str(c.reason) ? el('small', {}, c.reason) : null]);
	const bad = m.checks.filter((c) => c.ok === false).length, good = m.checks.filter((c) => c.ok === true).length;
	return [el('p', {}, good + ' agree' + (bad ? ', ' + bad + ' differ' : '') + (m.checks.length - good - bad ? ', ' + (m.checks.length - good - bad) + ' could not be checked' : '') + '.'),
		scroll('checks', el('table', { class: 'data checks' },
			el('thead', {}, el('tr', {}, ['Of', 'Road', 'Counted by trivm', 'Counted outside', 'Difference', 'Allowed', ''].map((t) => el('th', { scope: 'col' }, t)))),
			el('tbody', {}, m.checks.map((c) => el('tr', {}, el('th', { scope: 'row' }, str(c.what) || 'not known'), el('td', {}, str(c.road) || ''),
				el('td', {}, side(c.ours)), el('td', {}, side(c.outside)),
				el('td', {}, isNum(c.difference_percent) ? c.difference_percent.toFixed(2) + '\u202f%' : notKnown()),
				el('td', {}, isNum(c.limit_percent) ? c.limit_percent + '\u202f%' : ''), el('td', {}, mark(c)))))))];
}

const value = (v) => (v === null || v === undefined || v === '' ? notKnown() : String(v));
const dl = (rows) => el('dl', {}, rows.map(([k, v]) => [el('dt', {}, k), el('dd', {}, v && v.nodeType ? v : value(v))]));
const code = (s) => (str(s) ? el('code', {}, s) : null);

function settings(m) {
	const d = m.data, h = obj(d.host), g = obj(d.guest), v = obj(d.versions), s = obj(d.settings);
	const unused = (x) => str(x) || 'not used';
	const pins = (p) => (Array.isArray(p) ? 'processors ' + p.join(', ') : p === undefined ? null : 'not pinned');
	const kvm = { hardware: 'the processor\u2019s virtualization', full: 'full (without the processor\u2019s word for it)' };
	const features = m.roads.map((r) => arr(r.feature_names).filter(str));
	const known = features.filter((f) => f.length), common = (known[0] || []).filter((n) => known.every((f) => f.includes(n)));
	const own = (i) => features[i].filter((n) => !common.includes(n));
	const chips = (names) => el('ul', { class: 'chips' }, names.map((n) => el('li', {}, el('code', {}, n))));
	const row = (name, f) => el('tr', {}, el('th', { scope: 'row' }, name), m.roads.map((r, i) => { const x = f(r, i); return el('td', {}, x && x.nodeType ? x : value(x)); }));
	return el('div', { class: 'settings' },
		el('div', { class: 'pair' },
			el('div', {}, el('h3', {}, 'Host'), dl([['processor', str(h.cpu)], ['processors', num(h.cpus)], ['memory', bytes(h.memory)], ['kernel', str(h.kernel)],
				['KVM', kvm[h.kvm] || str(h.kvm)], ['itself virtual', h.hypervisor === true ? 'yes' : h.hypervisor === false ? 'no' : null]])),
			el('div', {}, el('h3', {}, 'Guest'), dl([['kernel', str(g.kernel)], ['processors', num(g.cpus)], ['memory', bytes(g.memory)], ['parameters', code(g.params)],
				['image', code(g.image)], ['initrd', code(g.initrd)]])),
			el('div', {}, el('h3', {}, 'Run'), dl([['command', code(arr(d.command).filter(str).join(' '))], ['rounds', num(s.rounds)],
				['each workload', isNum(s.seconds) ? s.seconds + ' s' : null], ['warm-up', isNum(s.warmup_s) ? s.warmup_s + ' s, not counted' : null],
				['transport asked for', str(s.transport)], ['ring asked for', str(s.ring)], ['pinning', pins(s.pinning)]])),
			el('div', {}, el('h3', {}, 'Versions'), dl([['trivm', unused(v.trivm)], ['trivm-switch', unused(v.trivm_switch)], ['QEMU', unused(v.qemu)], ['iperf3', unused(v.iperf3)]]))),
		el('h3', {}, 'Each road'),
		scroll('settings of each road', el('table', { class: 'data text' },
			el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, 'Road'), m.roads.map((r) => el('th', { scope: 'col' }, r.name)))),
			el('tbody', {}, row('datapath', (r) => str(r.datapath)), row('kicks by', (r) => str(r.notify)), row('interrupts by', (r) => str(r.inject)),
				row('back-end', (r) => (r.backend === null ? 'none' : str(r.backend))), row('ring', (r) => str(r.ring)), row('queue size', (r) => num(r.queue_size)),
				row('queue pairs', (r) => num(r.pairs)), row('transport', (r) => str(r.transport)), row('vCPUs on', (r) => pins(r.pinning)), row('tap', (r) => str(r.tap)),
				row('started in', (r) => (isNum(r.boot_s) ? fmt(r.boot_s) + ' s' : null)), row('features', (r) => code(r.features)),
				known.length && m.roads.some((r, i) => own(i).length) ? row('of its own', (r, i) => (own(i).length ? chips(own(i)) : 'none')) : null,
				row('command', (r) => code(r.command))))),
		el('h3', {}, known.length > 1 ? 'Features that all roads negotiated' : 'Features negotiated'), common.length ? chips(common) : el('p', {}, notKnown()));
}

function errorsOf(m) {
	const bad = m.results.filter((r) => r.failed.length);
	return bad.length ? el('div', { class: 'notice', role: 'note' }, bad.flatMap((r) => r.failed.map((s) =>
		el('p', {}, el('strong', {}, [r.raw.workload, r.raw.road].map((x) => str(x) || 'not known').join(' on ') + ', round ' + (num(s.round) || 'not known') + ' failed: '), s.error)))) : null;
}

function main() {
	const m = new Model(JSON.parse($('results').textContent));
	const at = when(m.data.when);
	document.title = 'trivm compare' + (at ? ', ' + at : '');
	heading(m);
	findings(m);
	figures(m);
	$('side-lead').textContent = 'Every workload on every road. A bar of throughput or latency has the colour of who moves the packets; a bar of CPU time has one part for each who spent it.';
	$('keys').replaceChildren(...WHO.map((w) => el('li', {}, swatch(w.hue), w.text)));
	$('charts').replaceChildren(...drawCharts(m));
	$('tables').replaceChildren(...[errorsOf(m)].filter(Boolean), ...m.workloads.map((w) => el('details', {}, el('summary', {}, capital(title(w))), dataTable(m, w))));
	$('checks').replaceChildren(...[checksTable(m)].flat());
	$('settings').replaceChildren(settings(m));
	$('colophon').textContent = 'Drawn by trivm ' + (str(obj(m.data.versions).trivm) || '') + ' from compare.json, which is also within this file. It needs no network.';
}

try {
	main();
} catch (e) {
	$('notices').append(el('div', { class: 'notice', role: 'alert' }, el('p', {}, 'A part of this page could not be drawn: ' + e + '. The figures are in compare.json and compare.csv.')));
	throw e;
}
