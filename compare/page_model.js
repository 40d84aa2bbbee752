// SPDX-License-Identifier: BSD-2-Clause
// What the results say, whatever they lack: a member that is missing or of another type is null or empty,
// and null is "not known" wherever it is shown. Text from the results gets into the page as text only.
'use strict';

const isNum = (x) => typeof x === 'number' && Number.isFinite(x);
const num = (x) => (isNum(x) ? x : null);
const str = (x) => (typeof x === 'string' && x !== '' ? x : null);
const arr = (x) => (Array.isArray(x) ? x : []);
const obj = (x) => (x && typeof x === 'object' && !Array.isArray(x) ? x : {});
const cut = (s, n) => (s.length > n ? s.slice(0, n - 1) + '\u2026' : s);
const sum = (list) => list.reduce((a, b) => a + b, 0);

const SVG = 'http://www.w3.org/2000/svg';

function put(node, attrs, children) {
	for (const [name, value] of Object.entries(attrs || {})) {
		if (value === null || value === undefined || value === false) continue;
		node.setAttribute(name, value === true ? '' : String(value));
	}
	node.append(...[children].flat(3).filter((c) => c !== null && c !== undefined && c !== false));
	return node;
}
const el = (tag, attrs, ...children) => put(document.createElement(tag), attrs, children);
const sv = (tag, attrs, ...children) => put(document.createElementNS(SVG, tag), attrs, children);
const $ = (id) => document.getElementById(id);

// Two or three digits that count: what the spread leaves of a figure.
function fmt(v) {
	if (!isNum(v)) return 'not known';
	const a = Math.abs(v);
	if (a === 0) return '0';
	if (a < 0.001) return v < 0 ? '-<0.001' : '<0.001';
	if (a >= 1e12) return v.toExponential(1).replace('+', '');
	if (a >= 1e9) return (v / 1e9).toPrecision(3) + '\u202fG';
	if (a >= 1e7) return (v / 1e6).toPrecision(3) + '\u202fM';
	if (a >= 999.5)
		return Math.round(v)
			.toString()
			.replace(/\B(?=(\d{3})+(?!\d))/g, '\u202f');
	if (a >= 100) return v.toFixed(0);
	if (a >= 10) return v.toFixed(1);
	if (a >= 0.1) return v.toFixed(2);
	return v.toFixed(3);
}

// For the narrow places on arrows.
function tight(v) {
	if (!isNum(v)) return '?';
	if (v >= 1e9) return v.toExponential(0).replace('+', '');
	if (v >= 1e6) return (v / 1e6).toPrecision(2) + 'M';
	if (v >= 9999.5) return (v / 1e3).toFixed(0) + 'k';
	if (v >= 999.5) return (v / 1e3).toFixed(1) + 'k';
	return fmt(v);
}

const bytes = (b) =>
	!isNum(b) ? null : b >= 1 << 30 ? (b / (1 << 30)).toFixed(1) + ' GiB' : Math.round(b / (1 << 20)) + ' MiB';
const percent = (x) => (isNum(x) ? (x > 0 && x < 0.005 ? '<1' : Math.round(x * 100)) + '\u202f%' : 'not known');

// Who can spend time: name in the metrics, colour, text. The order is that of the bars.
const WHO = [
	{ id: 'vcpu_guest', hue: 'guest', text: 'guest (vCPU in the guest)' },
	{ id: 'vcpu_host', hue: 'kvm', text: 'KVM and VMM, on the vCPU\u2019s thread' },
	{ id: 'datapath', hue: 'vmm', text: 'VMM\u2019s packet thread' },
	{ id: 'vhost', hue: 'vhost', text: 'kernel\u2019s vhost worker' },
	{ id: 'backend', hue: 'backend', text: 'vhost-user back-end' },
	{ id: 'other', hue: 'other', text: 'VMM\u2019s other threads' },
];

// One workload on one road, or what is left of it.
class Result {
	constructor(raw) {
		this.raw = obj(raw);
		this.metrics = obj(this.raw.metrics);
		this.samples = arr(this.raw.samples).map(obj);
		this.failed = this.samples.filter((s) => str(s.error));
	}
	stat(name) {
		const m = obj(this.metrics[name]);
		return isNum(m.median) ? { median: m.median, min: num(m.min), max: num(m.max), n: num(m.n) } : null;
	}
	get(name) {
		const s = this.stat(name);
		return s ? s.median : null;
	}
	// Per packet, or, where hardly anything passed, per second and in percent of a processor.
	get idle() {
		return this.get('cpu_us_per_packet') === null && this.get('cpu_percent') !== null;
	}
	count(name) {
		return this.get(name + (this.idle ? '_per_s' : '_per_packet'));
	}
	costName(who) {
		return 'cpu_' + (who ? who + '_' : '') + (this.idle ? 'percent' : 'us_per_packet');
	}
	// The round whose total is the median (of an even number the lower one in the middle). Medians of the parts, each of
	// another round, do not add up to the median of the total; the parts of one round do.
	get typical() {
		const key = this.costName(''),
			known = this.samples.filter((s) => !str(s.error) && isNum(s[key])).sort((a, b) => a[key] - b[key]);
		return known.length ? known[Math.floor((known.length - 1) / 2)] : null;
	}
	cost(who) {
		const t = this.typical;
		return t ? num(t[this.costName(who)]) : this.get(this.costName(who));
	}
	get total() {
		const t = this.cost('');
		if (t !== null) return t;
		const parts = WHO.map((w) => this.cost(w.id)).filter(isNum);
		return parts.length ? sum(parts) : null;
	}
	share(who) {
		const c = this.cost(who),
			t = this.total;
		return c !== null && t > 0 ? Math.min(1, c / t) : null;
	}
	rate(name) {
		const p = this.get(name),
			s = this.get('seconds');
		return p !== null && s > 0 ? p / s : null;
	}
}

class Model {
	constructor(raw) {
		const d = (this.data = obj(raw));
		this.roads = arr(d.roads)
			.map(obj)
			.filter((r) => str(r.name));
		this.workloads = arr(d.workloads)
			.map(obj)
			.filter((w) => str(w.name));
		this.results = arr(d.results).map((r) => new Result(r));
		// Results may name what the lists above them do not have.
		for (const r of this.results) {
			const { workload, road } = r.raw;
			if (str(road) && !this.roads.some((x) => x.name === road)) this.roads.push({ name: road });
			if (str(workload) && !this.workloads.some((x) => x.name === workload))
				this.workloads.push({ name: workload });
		}
		this.skipped = arr(d.skipped)
			.map(obj)
			.filter((s) => str(s.road));
		this.checks = arr(d.checks).map(obj);
	}
	result(workload, road) {
		return this.results.find((r) => r.raw.workload === workload && r.raw.road === road) || new Result(null);
	}
	// Workloads in which packets move.
	get busy() {
		return this.workloads.filter((w) =>
			this.roads.some((r) => this.result(w.name, r.name).get('cpu_us_per_packet') !== null),
		);
	}
}

const title = (w) => str(w.title) || w.name;
const capital = (s) => s.charAt(0).toUpperCase() + s.slice(1);

// Who moves the packets on a road: the key into everything that depends on it.
function mover(road) {
	switch (road.datapath) {
		case 'vhost-net':
			return { who: 'vhost', hue: 'vhost', place: 'vhost' };
		case 'vhost-user':
			return { who: 'backend', hue: 'backend', place: 'backend' };
		case 'vmm':
			return { who: 'datapath', hue: 'vmm', place: 'vmm' };
		default:
			return { who: null, hue: 'other', place: null };
	}
}
