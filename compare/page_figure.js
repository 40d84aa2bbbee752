// SPDX-License-Identifier: BSD-2-Clause
// The diagram of one road. All roads have the same places; what takes no part is grey.
//
//	   guest   | kick v   ^ irq          rings
//	   user    |          |   exit > VMM      back-end
//	   kernel  KVM: ioeventfd, irqfd       vhost worker
//	                                   ------ tap ------
//	   network ------------------------------------------
//
// It is laid out for the width that it will have, so that type is never scaled down.

const HEIGHT = 524;
const THICK = 22; // of an arrow that stands for all the time

function describe(road, how) {
	const trivm = road.vmm !== 'qemu',
		exit = road.notify === 'exit',
		ioctl = road.inject === 'ioctl';
	const source =
		{
			vmm: {
				wake: 'on_tx_kick(), devices/net/dp_vmm.c',
				call: 'pair_flush(), devices/net/dp_vmm.c',
				tx: 'pair_transmit(), devices/net/dp_vmm_tx.c',
				rx: 'pair_receive(), devices/net/dp_vmm_rx.c',
				tap: 'port_tap_open(), devices/net/port_tap.c',
			},
			vhost: {
				wake: 'vring_kick(), devices/vhost/kernel.c gave it the eventfd',
				call: 'vring_call(), devices/vhost/kernel.c gave it the eventfd',
				tx: 'net_vring_start(), devices/vhost/kernel.c gave it the tap',
				rx: 'net_vring_start(), devices/vhost/kernel.c gave it the tap',
				tap: 'port_tap_open(), devices/net/port_tap.c',
			},
			backend: {
				wake: 'on_kick(), switch/guest_ring.c',
				call: 'guest_ring_poll(), switch/guest_tx.c',
				tx: 'guest_ring_poll(), switch/guest_tx.c',
				rx: 'fabric_forward(), switch/fabric.c',
				tap: 'port_tap_open(), devices/net/port_tap.c',
			},
		}[how.place] || {};
	const at = (text, where) => text + (trivm && where ? ' In the source: ' + where + '.' : '');
	return {
		kick: exit
			? at(
					'The driver writes to the queue\u2019s notification register. Nothing in KVM answers there, so the vCPU leaves the guest for user space.',
					'serve_mmio(), vmm/vcpu.c',
				)
			: at(
					'The driver writes to the queue\u2019s notification register. KVM finds an ioeventfd there and signals it; the vCPU goes on.',
					'ioeventfd_attach(), devices/virtio/pci_route.c',
				),
		irq: at(
			'KVM lets the vCPU take the queue\u2019s MSI-X interrupt; if it runs, it has to leave the guest for that.',
			ioctl ? 'send_msi(), vmm/kvm_irq.c' : 'irqfd(), vmm/kvm_irq.c',
		),
		exits: at(
			exit
				? 'KVM_RUN returns to the VMM, which finds the device on its bus, signals the packet thread, and enters the guest again.'
				: 'Exits that KVM cannot serve: KVM_RUN returns to the VMM. Without kicks, few are left: timers, registers of other devices, signals.',
			exit ? 'virtio_events_kick(), devices/virtio/events.c' : 'serve_exit(), vmm/vcpu.c',
		),
		wake: at(
			exit
				? 'The VMM\u2019s vCPU thread signals the kick itself; the ioeventfd is not used.'
				: 'The eventfd becomes readable and wakes who moves the packets.',
			source.wake,
		),
		call: at(
			ioctl
				? 'KVM_SIGNAL_MSI: a system call that names the interrupt.'
				: 'A write to the call eventfd, which KVM turns into the interrupt by itself.',
			source.call,
		),
		tx: at(
			'Frames from the guest: descriptor chains are read from the transmit ring, the buffers\u2019 bytes go on to the tap.',
			source.tx,
		),
		rx: at(
			'Frames to the guest: bytes from the tap are put into buffers of the receive ring and published as used.',
			source.rx,
		),
		tap: at(
			'The tap is where the host\u2019s network begins. What is counted as packets is counted here.',
			source.tap,
		),
	};
}

// An arrow along @points, @width thick; the number on it is drawn by onArrow().
function arrow(points, width, hue, options) {
	const on = options.on,
		w = Math.max(1.6, width);
	if (!on)
		return sv(
			'g',
			{ class: 'arrow off' },
			sv('path', {
				class: 'line',
				d: 'M' + points.map((p) => p.map((c) => c.toFixed(1)).join(' ')).join('L'),
				'stroke-width': 1.4,
			}),
		);
	const head = 5 + w * 0.75,
		half = 3.2 + w * 0.62;
	const [ex, ey] = points[points.length - 1],
		[px, py] = points[points.length - 2];
	const len = Math.hypot(ex - px, ey - py) || 1,
		ux = (ex - px) / len,
		uy = (ey - py) / len;
	const bx = ex - ux * head,
		by = ey - uy * head;
	const body = [...points.slice(0, -1), [bx + ux, by + uy]];
	const path = 'M' + body.map((p) => p.map((c) => c.toFixed(1)).join(' ')).join('L');
	const tip = [
		[ex, ey],
		[bx - uy * half, by + ux * half],
		[bx + uy * half, by - ux * half],
	];
	const g = sv(
		'g',
		{ class: 'arrow ' + hue },
		sv('path', { class: 'line', d: path, 'stroke-width': w.toFixed(2) }),
		sv('polygon', { class: 'head', points: tip.map((p) => p.map((c) => c.toFixed(1)).join(',')).join(' ') }),
	);
	if (options.detail) {
		put(
			g,
			{ tabindex: 0, role: 'img', 'aria-label': options.name + ': ' + options.value + '. ' + options.detail },
			sv('path', { class: 'hit', d: path }),
		);
		g.detail = options;
	}
	return g;
}

const text = (x, y, cls, s) => sv('text', { x: x.toFixed(1), y, class: cls }, s);

// @t must not be wider than @width. That is seen to by squeeze(), when it is on the page and has a width.
const room = (t, width) => Object.assign(t, { room: width });

function squeeze(svg) {
	for (const t of svg.querySelectorAll('text')) {
		if (t.room && t.getComputedTextLength() > t.room)
			put(t, { textLength: t.room.toFixed(1), lengthAdjust: 'spacingAndGlyphs' }, []);
	}
}

function ring(x, y) {
	const g = sv('g', { 'aria-hidden': 'true' }, sv('circle', { class: 'ring', cx: x, cy: y, r: 12 }));
	for (let i = 0; i < 8; i++)
		g.append(
			sv('circle', {
				class: 'slot',
				cx: (x + 7.6 * Math.cos((i * Math.PI) / 4)).toFixed(1),
				cy: (y + 7.6 * Math.sin((i * Math.PI) / 4)).toFixed(1),
				r: 1.9,
			}),
		);
	return g;
}

// The places of a diagram @W wide.
function places(W) {
	const box = (l, r) => ({ x: W * l, w: W * (r - l), c: (W * (l + r)) / 2 });
	return {
		kickX: W * 0.064,
		irqX: W * 0.176,
		exitX: W * 0.292,
		kvm: { x: 8, w: W * 0.352 - 8 },
		tap: box(0.385, 0.978),
		vmm: { ...box(0.385, 0.632), c: W * 0.53 },
		vhost: { ...box(0.572, 0.828), c: W * 0.67 },
		backend: { ...box(0.708, 1), c: W * 0.875 },
	};
}

// A number on an arrow, and what it counts; beside the arrow as far as it would leave the diagram.
function onArrow(arrow, y, n, what) {
	const w = Math.max(n.length * 8, what.length * 6.6) + 4;
	const x = Math.max(arrow, w / 2 + 2);
	return [
		sv('rect', { class: 'chip', x: (x - w / 2).toFixed(1), y: y - 13, width: w.toFixed(1), height: 31 }),
		text(x, y, 'n', n),
		text(x, y + 14, 'small mid', what),
	];
}

function costText(r, who) {
	const c = r.cost(who);
	return (c === null ? '?' : fmt(c)) + (r.idle ? '\u202f%' : '\u202f\u00b5s');
}

function actor(svg, r, at, options) {
	const { y, h, hue, on, name, sub, who } = options;
	svg.append(sv('rect', { class: 'box ' + (on ? hue : 'off'), x: at.x, y, width: at.w, height: h, rx: 5 }));
	const x = at.x + 7,
		off = on ? '' : ' off';
	svg.append(text(x, y + 18, 'name' + off, name), room(text(x, y + 34, 'small' + off, sub), at.w - 11));
	if (on) {
		svg.append(text(x, y + h - 26, 'cost', costText(r, who)));
		const share = r.share(who);
		if (share !== null) svg.append(text(x, y + h - 11, 'small', percent(share)));
	}
}

// What is drawn last lies on top.
const activeLast = (how) => ['backend', 'vhost', 'vmm'].sort((a, b) => (a === how.place) - (b === how.place));

function notifications(svg, P, road, r, how, words, per) {
	const exit = road.notify === 'exit';
	const host = r.idle ? 1.6 : THICK * (r.share('vcpu_host') || 0);
	const kicks = r.count('kicks'),
		irqs = r.count('interrupts'),
		exits = r.count('exits_user');
	const value = (v) => (v === null ? 'not known' : fmt(v)) + ' ' + per;
	const spots = {
		vmm: [P.vmm.c - 36, P.vmm.c - 22, 250],
		vhost: [P.vhost.c - 16, P.vhost.c - 30, 352],
		backend: [P.backend.c - 30, P.backend.c - 17, 250],
	};
	const kvmRight = P.kvm.x + P.kvm.w;
	const draw = (place, on) => {
		const [kx, cx, end] = spots[place];
		if (!on)
			return svg.append(
				arrow(
					[
						[kvmRight, 324],
						[kx, 324],
						[kx, end],
					],
					1,
					how.hue,
					{ on },
				),
			);
		if (!exit)
			svg.append(
				arrow(
					[
						[kvmRight, 324],
						[kx, 324],
						[kx, end],
					],
					2,
					how.hue,
					{ on, name: 'wake-up by eventfd', value: value(kicks), detail: words.wake },
				),
			);
		svg.append(
			arrow(
				[
					[cx, end],
					[cx, 342],
					[kvmRight, 342],
				],
				2,
				how.hue,
				{
					on,
					name: road.inject === 'ioctl' ? 'interrupt by ioctl' : 'interrupt by irqfd',
					value: value(irqs),
					detail: words.call,
				},
			),
		);
	};
	for (const place of activeLast(how)) draw(place, place === how.place);
	svg.append(
		arrow(
			[
				[P.kickX, 112],
				[P.kickX, 290],
			],
			host,
			'kvm',
			{ on: true, name: 'kicks', value: value(kicks), detail: words.kick },
		),
		arrow(
			[
				[P.irqX, 290],
				[P.irqX, 112],
			],
			2,
			'guest',
			{ on: true, name: 'interrupts', value: value(irqs), detail: words.irq },
		),
		arrow(
			[
				[P.exitX, 290],
				[P.exitX, 176],
				[P.vmm.x, 176],
			],
			exit ? host : 1.6,
			'kvm',
			{ on: exits === null || exits > 0, name: 'exits to user space', value: value(exits), detail: words.exits },
		),
		...onArrow(P.kickX, 204, tight(kicks), 'kicks'),
		...onArrow(P.irqX, 160, tight(irqs), 'irqs'),
		...onArrow(P.exitX, 236, tight(exits), 'exits'),
	);
}

function packets(svg, P, road, r, how, words) {
	const to = r.rate('packets_to_guest'),
		from = r.rate('packets_from_guest');
	const both = (to || 0) + (from || 0),
		share = how.who ? r.share(how.who) || 0 : 0;
	const widths = (v) => (both > 0 && !r.idle ? (THICK * share * (v || 0)) / both : 1.6);
	const tops = { vmm: 150, vhost: 352, backend: 150 },
		bottoms = { vmm: 250, vhost: 416, backend: 250 };
	const rate = (v) => (v === null ? 'not known' : fmt(v) + ' a second');
	const lanes = (place, legs, hue, on, detail) => {
		const c = P[place].c;
		if (!on)
			return svg.append(
				...legs.map(([a, b]) =>
					arrow(
						[
							[c, a],
							[c, b],
						],
						1,
						hue,
						{ on },
					),
				),
			);
		const gap = Math.max(5, (widths(to) + widths(from)) / 4 + 5);
		for (const [a, b] of legs) {
			svg.append(
				arrow(
					[
						[c - gap, b],
						[c - gap, a],
					],
					widths(to),
					hue,
					{ on, name: 'packets to the guest', value: rate(to), detail: detail || words.rx },
				),
				arrow(
					[
						[c + gap, a],
						[c + gap, b],
					],
					widths(from),
					hue,
					{ on, name: 'packets from the guest', value: rate(from), detail: detail || words.tx },
				),
			);
		}
	};
	for (const place of activeLast(how))
		lanes(
			place,
			[
				[112, tops[place]],
				[bottoms[place], 440],
			],
			how.hue,
			place === how.place,
		);
	if (!how.place) return;
	lanes(how.place, [[464, 504]], 'wire', true, words.tap);
	const x = P[how.place].c - 24;
	svg.append(
		text(x, 128, 'n halo end', '\u25b2\u2009' + tight(to) + '/s'),
		text(x, 144, 'n halo end', '\u25bc\u2009' + tight(from) + '/s'),
	);
}

function drawRoad(road, r, W) {
	const P = places(W),
		how = mover(road),
		words = describe(road, how);
	const per = r.idle ? 'a second' : 'per packet';
	const svg = sv('svg', {
		viewBox: '0 0 ' + W + ' ' + HEIGHT,
		width: W,
		height: HEIGHT,
		role: 'group',
		'aria-label': 'Diagram of the road ' + road.name,
	});
	const qemu = road.vmm === 'qemu',
		exit = road.notify === 'exit';
	svg.append(sv('rect', { class: 'band', x: 0.5, y: 276, width: W - 1, height: 194, rx: 7 }));
	svg.append(
		sv('rect', { class: 'box guest', x: 0.75, y: 0.75, width: W - 1.5, height: 111, rx: 7 }),
		text(12, 21, 'place', 'GUEST'),
		text(12, 62, 'cost', costText(r, 'vcpu_guest')),
		text(12, 80, 'small', r.share('vcpu_guest') === null ? '' : percent(r.share('vcpu_guest'))),
		text(12, 44, 'small', 'vCPU'),
		text(P.vmm.x, 21, 'name', 'virtio-net driver'),
		text(P.vmm.x, 39, 'small', 'rings in shared memory'),
	);
	packets(svg, P, road, r, how, words);
	notifications(svg, P, road, r, how, words, per);
	const c = how.place ? P[how.place].c : P.vmm.c;
	svg.append(
		sv('g', {}, ring(c - 17, 76), ring(c + 17, 76)),
		text(c - 17, 102, 'small mid', 'rx'),
		text(c + 17, 102, 'small mid', 'tx'),
	);
	actor(svg, r, P.vmm, {
		y: 150,
		h: 100,
		hue: 'vmm',
		on: how.place === 'vmm',
		name: qemu ? 'QEMU' : 'trivm',
		who: 'datapath',
		sub: how.place === 'vmm' ? (qemu ? 'main loop' : 'a thread') : 'sets it up',
	});
	actor(svg, r, P.backend, {
		y: 150,
		h: 100,
		hue: 'backend',
		on: how.place === 'backend',
		who: 'backend',
		name: 'back-end',
		sub: cut(str(road.backend) || 'process', 12),
	});
	actor(svg, r, P.vhost, {
		y: 352,
		h: 64,
		hue: 'vhost',
		on: how.place === 'vhost',
		who: 'vhost',
		name: 'vhost',
		sub: '',
	});
	return finish(svg, P, W, road, r, how, words, exit);
}

function finish(svg, P, W, road, r, how, words, exit) {
	const x = P.kvm.x,
		right = x + P.kvm.w - 7,
		ioctl = road.inject === 'ioctl';
	svg.append(
		sv('rect', { class: 'box kvm', x, y: 290, width: P.kvm.w, height: 138, rx: 5 }),
		text(x + 8, 309, 'name', 'KVM'),
		text(right, 328, 'small end' + (exit ? ' off' : ''), 'ioeventfd'),
		text(right, 346, 'small end', ioctl ? 'ioctl' : 'irqfd'),
		text(x + 8, 376, 'cost', costText(r, 'vcpu_host')),
		text(x + 8, 394, 'small', r.share('vcpu_host') === null ? '' : percent(r.share('vcpu_host'))),
		text(x + 8, 416, 'small', tight(r.count('exits')) + ' exits' + (r.idle ? '/s' : '')),
		sv('rect', { class: 'box wire', x: P.tap.x, y: 440, width: P.tap.w, height: 24, rx: 4 }),
		room(text(P.tap.x + 8, 456, 'small', str(road.tap) ? 'tap ' + cut(road.tap, 15) : 'tap'), P.tap.w - 16),
		text(12, 458, 'place', 'HOST KERNEL'),
		sv('path', { class: 'wireline', d: 'M' + P.tap.x + ' 506H' + W }),
		text(12, 510, 'place', 'NETWORK'),
	);
	return svg;
}
