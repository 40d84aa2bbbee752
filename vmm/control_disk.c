/* SPDX-License-Identifier: BSD-2-Clause */
/* The control socket's methods for disks: disk.* */
#include <errno.h>
#include <string.h>

#include "vmm/control_priv.h"
#include "vmm/json_text.h"

static struct disk *find_disk(struct control_vm *vm, struct jsonrpc_call *call)
{
	const char *id = json_string_value(json_object_get(call->params, "id"));
	struct machine *m = vm->machine;

	for (unsigned i = 0; i < m->nr_disks; i++)
		if (strcmp(m->disks[i].name, id) == 0)
			return &m->disks[i];
	err_set(&call->err, -ENOENT,
	        "%s: there is no such disk; `trivm ctl NAME disk` (disk.list) lists them", id);
	return NULL;
}

static json_t *describe(const struct disk *d)
{
	const struct backing *b = &d->backing;

	return json_pack("{s:s, s:o, s:I, s:b, s:b, s:i}", "id", d->name, "file",
	                 json_text(d->options->path), "size", (json_int_t)backing_size(b), "ro",
	                 b->ro, "direct", b->direct, "block", (int)b->block);
}

int control_disk_list(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;
	struct disk *one = NULL;

	if (json_object_get(call->params, "id")) {
		one = find_disk(vm, call);
		if (!one)
			return -ENOENT;
	}
	call->result = json_array();
	for (unsigned i = 0; i < vm->machine->nr_disks; i++)
		if (!one || one == &vm->machine->disks[i])
			json_array_append_new(call->result, describe(&vm->machine->disks[i]));
	return 0;
}

int control_disk_resize(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;
	struct disk *d = find_disk(vm, call);
	uint64_t before;
	int rc;

	if (!d)
		return -ENOENT;
	before = backing_size(&d->backing);
	rc = blk_resize(&d->blk, d->options->path, &call->err);
	if (rc < 0)
		return rc;
	call->result = describe(d);
	if (backing_size(&d->backing) != before)
		control_notify(vm->control, "resize",
		               json_pack("{s:s, s:I}", "device", d->name, "size",
		                         (json_int_t)backing_size(&d->backing)));
	return 0;
}
