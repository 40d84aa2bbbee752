#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""browser.py PAGE NAME OUT ROADS [--quick]
   browser.py PAGE NAME OUT ROADS --spread
   browser.py PAGE NAME OUT --mutants COUNT

Opens PAGE in headless Chromium and says on lines "ok   TEST" and "FAIL TEST: why" what it made of it: it has to have
ROADS diagrams. Pictures and the PDF are left in the folder OUT, their names begin with NAME. With --mutants its results
are spoilt in COUNT ways, and the page has to bear it.

With --spread the page is of rounds that differ (tests/page/run makes them), and must not say more than they do.

Chromium is driven through its DevTools protocol, over a pair of pipes: JSON messages with a zero byte between them.
"""
import base64
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

LIMIT = 60  # seconds for an answer of the browser


class Browser:
    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix='trivm-page.')
        to_r, self.to = os.pipe()
        self.back, back_w = os.pipe()
        self.events, self.buffer, self.last = [], b'', 0

        def descriptors():
            # The browser has its end of the pipes as 3 and 4. Through higher numbers, as these may be 3 and 4.
            a, b = os.dup2(to_r, 60), os.dup2(back_w, 61)
            os.dup2(a, 3)
            os.dup2(b, 4)

        self.process = subprocess.Popen(
            ['chromium', '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
             '--disable-extensions', '--disable-background-networking', '--disable-component-update', '--disable-sync',
             '--host-resolver-rules=MAP * ~NOTFOUND', '--remote-debugging-pipe', '--hide-scrollbars',
             '--user-data-dir=' + self.profile, 'about:blank'],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, close_fds=False,
            preexec_fn=descriptors, start_new_session=True)
        os.close(to_r)
        os.close(back_w)

    def close(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)

    def message(self, deadline):
        while b'\0' not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.back], [], [], left)[0]:
                return None
            data = os.read(self.back, 1 << 16)
            if not data:
                raise RuntimeError('the browser ended')
            self.buffer += data
        line, self.buffer = self.buffer.split(b'\0', 1)
        return json.loads(line)

    def call(self, method, session=None, **params):
        self.last += 1
        message = {'id': self.last, 'method': method, 'params': params}
        if session:
            message['sessionId'] = session
        os.write(self.to, json.dumps(message).encode() + b'\0')
        deadline = time.monotonic() + LIMIT
        while True:
            answer = self.message(deadline)
            if answer is None:
                raise RuntimeError('no answer to ' + method)
            if answer.get('id') == self.last:
                if 'error' in answer:
                    raise RuntimeError(method + ': ' + answer['error']['message'])
                return answer['result']
            self.events.append(answer)

    def wait(self, name):
        deadline = time.monotonic() + LIMIT
        while not any(e.get('method') == name for e in self.events):
            event = self.message(deadline)
            if event is None:
                raise RuntimeError('no ' + name)
            if event.get('method') == 'Page.javascriptDialogOpening':
                raise RuntimeError('text of the results was run as a script')
            self.events.append(event)


# What must hold in every view: nothing wider than the page, no text cut or on top of other text in a diagram.
LOOK = r'''(() => {
  const bad = [], W = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > W)
    bad.push('the page is ' + document.documentElement.scrollWidth + ' wide in ' + W);
  for (const e of document.querySelectorAll('main *, header *')) {
    if (e.closest('.scroll') || e.closest('svg') || e.closest('[hidden]'))
      continue;
    const b = e.getBoundingClientRect();
    if (b.width && b.right > W + 1) { bad.push('<' + e.tagName + ' ' + e.className + '> ends at ' + Math.round(b.right) + ' of ' + W); break; }
  }
  for (const svg of document.querySelectorAll('.road svg')) {
    const outer = svg.getBoundingClientRect(), road = svg.getAttribute('aria-label');
    const texts = [...svg.querySelectorAll('text')].filter((t) => t.textContent).map((t) => [t.textContent, t.getBoundingClientRect(), parseFloat(getComputedStyle(t).fontSize)]);
    const scale = outer.width / svg.viewBox.baseVal.width;
    for (const [s, b, size] of texts) {
      if (b.left < outer.left - 1 || b.right > outer.right + 1) bad.push(road + ': "' + s + '" leaves it');
      if (size * scale < 10.5) bad.push(road + ': "' + s + '" is ' + (size * scale).toFixed(1) + ' px');
    }
    for (let i = 0; i < texts.length; i++)
      for (let j = 0; j < i; j++) {
        const a = texts[i][1], b = texts[j][1];
        // Boxes of text have air above and below the letters.
        const x = Math.min(a.right, b.right) - Math.max(a.left, b.left), y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (x > -2 && y > 4) bad.push(road + ': "' + texts[i][0] + '" lies on "' + texts[j][0] + '"');
      }
    for (const box of svg.querySelectorAll('rect.box')) {
      const r = box.getBoundingClientRect();
      for (const [s, b] of texts)
        if (b.left >= r.left && b.left < r.right && b.top >= r.top && b.bottom <= r.bottom && b.right > r.right - 1)
          bad.push(road + ': "' + s + '" is wider than its box');
    }
  }
  return bad;
})()'''

# Text against what is behind it (WCAG 2: 4.5, or 3 if large). Colours of the page are opaque.
CONTRAST = r'''(() => {
  const rgb = (c) => c.match(/[\d.]+/g).map(Number), bad = new Set();
  const lum = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
  const behind = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return matchMedia('(prefers-color-scheme: dark)').matches ? [0, 0, 0] : [255, 255, 255]; };
  const rects = new Map([...document.querySelectorAll('.road svg')].map((s) => [s, [...s.querySelectorAll('rect')].map((r) => [r.getBoundingClientRect(), getComputedStyle(r).fill])]));
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; (n = walk.nextNode());) {
    const e = n.parentElement;
    if (!n.textContent.trim() || e.closest('script, style, noscript') || !e.getClientRects().length) continue;
    const s = getComputedStyle(e), svg = e.closest('svg');
    let back = behind(e), fore = rgb(svg ? s.fill : s.color);
    if (svg) { const b = e.getBoundingClientRect(); for (const [r, f] of rects.get(svg) || []) if (f !== 'none' && b.left >= r.left - 1 && b.right <= r.right + 1 && b.top >= r.top - 4 && b.bottom <= r.bottom + 4) back = rgb(f); }
    const [a, b] = [lum(fore), lum(back)].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
    const large = parseFloat(s.fontSize) >= 24 || (parseFloat(s.fontSize) >= 18.6 && s.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) bad.add('"' + n.textContent.trim().slice(0, 30) + '" ' + ratio.toFixed(2));
  }
  return [...bad];
})()'''

# What a page of rounds that differ may say: [test, what it finds wrong].
SPREAD = [
    ('no order where ranges overlap', r'''(() => { const t = document.querySelector('#findings').textContent;
      return [...(/least on|most on/.test(t) ? ['an order is stated: ' + t] : []), ...(t.includes('no difference beyond the spread') ? [] : ['the spread is not named'])]; })()'''),
    ('parts of a bar of CPU time add up', r'''(() => { const m = new Model(JSON.parse(document.querySelector('#results').textContent)), bad = [];
      for (const w of m.workloads) for (const road of m.roads) { const r = m.result(w.name, road.name), s = sum(WHO.map((p) => r.cost(p.id) || 0));
        if (r.total !== null && Math.abs(s - r.total) > r.total * .01) bad.push(w.name + ' on ' + road.name + ': parts ' + s + ', total ' + r.total); } return bad; })()'''),
    ('one round that went wrong does not set an axis', r'''[...document.querySelectorAll('.bars')].map((t) => [t.caption.textContent, Math.max(0, ...[...t.querySelectorAll('.track')].map((x) => sum([...x.querySelectorAll('b, .all')].map((b) => parseFloat(b.style.width)))))])
      .filter(([, w]) => w > 0 && w < 60).map(([c, w]) => c + ': the longest bar has ' + w + ' %')'''),
    ('a longer whisker is cut, and stays in its track', r'''(() => { const cut = [...document.querySelectorAll('.whisker.cut')], bad = cut.length ? [] : ['none is cut'];
      for (const c of cut) if (c.getBoundingClientRect().right > c.parentNode.getBoundingClientRect().right + 1) bad.push('one leaves its track'); return bad; })()'''),
    ('a check that agrees knows its difference', r'''[...document.querySelectorAll('.checks tbody tr')].filter((r) => /agrees/.test(r.textContent) && /not known/.test(r.textContent)).map((r) => r.textContent)'''),
]

failed = 0


def verdict(name, bad):
    global failed
    bad = list(bad)
    if bad:
        failed += 1
    print('FAIL %s: %s' % (name, '; '.join(bad[:6])) if bad else 'ok   ' + name, flush=True)


class Page:
    def __init__(self, browser):
        self.b = browser
        target = browser.call('Target.createTarget', url='about:blank')['targetId']
        self.session = browser.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(domain + '.enable')

    def open(self, path):
        self.view(1400, 'light')
        self.b.events.clear()
        self.call('Page.navigate', url='file://' + os.path.abspath(path))
        self.b.wait('Page.loadEventFired')

    def call(self, method, **params):
        return self.b.call(method, self.session, **params)

    def view(self, width, scheme):
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=1000, deviceScaleFactor=1, mobile=False)
        self.call('Emulation.setEmulatedMedia', media='', features=[{'name': 'prefers-color-scheme', 'value': scheme}])
        # Two frames: the diagrams are drawn anew by what observes their size.
        self.eval('new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50))))')

    def eval(self, expression):
        r = self.call('Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True)
        if 'exceptionDetails' in r:
            raise RuntimeError(json.dumps(r['exceptionDetails'])[:400])
        return r['result'].get('value')

    def picture(self, file):
        data = self.call('Page.captureScreenshot', format='png', captureBeyondViewport=True,
                         clip=dict(self.call('Page.getLayoutMetrics')['cssContentSize'], scale=1))['data']
        with open(file, 'wb') as f:
            f.write(base64.b64decode(data))

    def pdf(self, file):
        data = self.call('Page.printToPDF', preferCSSPageSize=True, printBackground=False)['data']
        with open(file, 'wb') as f:
            f.write(base64.b64decode(data))
        return len(base64.b64decode(data))

    # Errors since the page was opened, and requests for anything but itself.
    def complaints(self):
        self.eval('0')
        out = []
        for e in self.b.events:
            p = e.get('params', {})
            if e.get('method') == 'Runtime.exceptionThrown':
                d = p['exceptionDetails']
                out.append('exception: ' + str(d.get('exception', {}).get('description', d['text']))[:300])
            elif e.get('method') == 'Runtime.consoleAPICalled' and p['type'] in ('error', 'warning', 'assert'):
                out.append('console: ' + str(p['args'])[:200])
            elif e.get('method') == 'Log.entryAdded' and p['entry']['level'] in ('error', 'warning'):
                out.append('log: ' + p['entry']['text'][:200])
            elif e.get('method') == 'Network.requestWillBeSent' and not p['request']['url'].startswith('file:///'):
                out.append('request: ' + p['request']['url'][:100])
        return out


def look(page, name, out, widths, schemes):
    for width in widths:
        for scheme in schemes:
            page.view(width, scheme)
            page.picture('%s/%s-%d-%s.png' % (out, name, width, scheme))
            verdict('%s at %d, %s: fits, nothing on top of another' % (name, width, scheme), page.eval(LOOK))
            verdict('%s at %d, %s: contrast' % (name, width, scheme), page.eval(CONTRAST))


# Each workload chosen once, each arrow reached by Tab's way (focus), all details open.
def use(page, name):
    n = page.eval('document.querySelectorAll("#pills input").length')
    bad = []
    for i in range(n or 0):
        page.eval('document.querySelectorAll("#pills input")[%d].click()' % i)
        bad += ['workload %d: %s' % (i, x) for x in page.eval(LOOK)]
    verdict(name + ': every workload can be chosen and fits', bad)
    page.eval('document.querySelectorAll("details").forEach((d) => { d.open = true; })')
    verdict(name + ': all tables open, the page does not scroll sideways', page.eval(LOOK))
    verdict(name + ': arrows say more when they are reached', page.eval('''(() => { const bad = [];
      document.querySelectorAll('.arrow[tabindex]').forEach((a) => { a.focus(); const d = a.closest('figure').querySelector('.detail').textContent;
        if (!d.includes(a.detail.detail)) bad.push(a.getAttribute('aria-label')); }); return bad; })()'''))
    page.eval('document.querySelectorAll("details").forEach((d) => { d.open = false; })')
    page.eval('document.querySelector("#pills input") && document.querySelector("#pills input").click()')


SPOILT = [None, '', 0, -1, 1e300, -1e-300, True, [], {}, [None], ['x', 7], {'median': None}, 'x' * 300, 'Wort ' * 80,
          '<img src=x onerror=alert(1)>', '</script><x-evil>', '"><b onclick=alert(1)>', '__proto__', '\u202e\u0000\ud83d\ude00']


def spoil(value, rng):
    """One to eight places of @value, at any depth, gone or something else."""
    def places(v, found):
        for k in (v.keys() if isinstance(v, dict) else range(len(v)) if isinstance(v, list) else ()):
            found.append((v, k))
            places(v[k], found)
        return found
    for _ in range(rng.randint(1, 8)):
        # Most places are numbers of samples: go for the upper levels as often.
        found = places(value, [])
        if not found:
            break
        v, k = rng.choice(found if rng.random() < .4 else [p for p in found if not isinstance(p[0].get('round') if isinstance(p[0], dict) else None, int)][:400] or found)
        if rng.random() < .3:
            del v[k]
        else:
            v[k] = rng.choice(SPOILT)
    return value


def mutants(page, path, name, out, count):
    with open(path, encoding='utf-8') as f:
        text = f.read()
    begin = text.index('id="results">') + len('id="results">')
    end = text.index('</script>', begin)
    spoilt = out + '/' + name + '.html'
    for seed in range(count):
        results = json.loads(text[begin:end])
        results = {} if seed == 0 else [] if seed == 1 else spoil(results, random.Random(seed))
        with open(spoilt, 'w', encoding='utf-8') as f:
            f.write(text[:begin] + json.dumps(results).replace('<', '\\u003c') + text[end:])
        page.open(spoilt)
        page.view((1400, 700, 360)[seed % 3], ('light', 'dark')[seed % 2])
        bad = page.complaints() + page.eval(EVIL) + page.eval(LOOK)
        if bad:
            verdict('%s, seed %d' % (name, seed), bad)
            shutil.copy(spoilt, '%s/%s-%d.html' % (out, name, seed))
    verdict('%s: %d spoilt results, no exception, no overflow, no element of theirs' % (name, count), [] if not failed else ['see above'])


EVIL = '[...document.querySelectorAll("img, iframe, b[onclick], x-evil")].map((e) => e.outerHTML)'


def main():
    path, name, out = sys.argv[1:4]
    quick = '--quick' in sys.argv
    browser = Browser()
    try:
        page = Page(browser)
        if sys.argv[4] == '--mutants':
            mutants(page, path, name, out, int(sys.argv[5]))
            return
        page.open(path)
        drawn = page.eval('document.querySelectorAll(".road svg").length')
        verdict('%s: %s diagrams' % (name, sys.argv[4]), [] if drawn == int(sys.argv[4]) else ['%s were drawn' % drawn])
        look(page, name, out, (1400,) if quick else (1400, 700, 360), ('light',) if quick else ('light', 'dark'))
        if not quick:
            for width in (360, 700, 1400):
                page.view(width, 'light')
                use(page, '%s at %d' % (name, width))
            page.view(1400, 'dark')
            verdict(name + ': prints', [] if page.pdf('%s/%s.pdf' % (out, name)) > 20000 else ['hardly anything on the paper'])
        if '--spread' in sys.argv:
            for test, expression in SPREAD:
                verdict(name + ': ' + test, page.eval(expression))
        verdict(name + ': no hostile text became an element', page.eval(EVIL))
        verdict(name + ': no error, no exception, no request', page.complaints())
    finally:
        browser.close()
        # What ends in the middle has failed.
        if sys.exc_info()[0]:
            print('FAIL %s: %s' % (name, sys.exc_info()[1]), flush=True)
    sys.exit(1 if failed else 0)


main()
