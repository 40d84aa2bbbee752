# SPDX-License-Identifier: BSD-2-Clause
# The page of `trivm compare`: template, style and script joined to one file, and put into the program by
# page_html.S. To be included; uses BUILD and CC.

COMPARE_PAGE   := $(BUILD)/obj/compare/page.html
COMPARE_SCRIPT := $(patsubst %,compare/%.js,page_model page_figure page_charts page_findings page_settings page)

$(COMPARE_PAGE): compare/page.html compare/page.css $(COMPARE_SCRIPT) compare/page.mk
	@mkdir -p $(@D)
	$(call do,GEN,$@)cat $(COMPARE_SCRIPT) >$(@:.html=.js)
	@sed -e '/^@STYLE@$$/{r compare/page.css' -e 'd}' -e '/^@SCRIPT@$$/{r $(@:.html=.js)' -e 'd}' \
		compare/page.html >$@.tmp
	@mv $@.tmp $@

$(BUILD)/obj/compare/page_html.o: compare/page_html.S $(COMPARE_PAGE) | $(TOOLCHAIN)
	$(call do,AS,$<)$(CC) -DCOMPARE_PAGE='"$(COMPARE_PAGE)"' -c $< -o $@
