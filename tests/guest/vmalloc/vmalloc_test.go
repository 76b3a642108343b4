// SPDX-License-Identifier: BSD-3-Clause

package vmalloc

import "testing"

func TestParse(t *testing.T) {
	const (
		stack  = "0x(____ptrval____)-0x(____ptrval____)   20480 dup_task_struct+0x52/0x350 pages=4 vmalloc\n"
		device = "0x(____ptrval____)-0x(____ptrval____)    8192 pcim_iomap+0x86/0xf0 phys=0x0000000010001000 ioremap\n"
		module = "0x(____ptrval____)-0x(____ptrval____) 4272128 load_module+0x658/0x1910 pages=1042 vmalloc vpages N0=1042\n"
		other  = "0x(____ptrval____)-0x(____ptrval____)    8192 execmem_vmalloc.constprop.0+0x1/0x2 pages=1 vmalloc\n"
		orphan = "0x(____ptrval____)-0x(____ptrval____) 1052672 0xffffffffc0000029 pages=256 vmalloc\n"
		block  = "0x(____ptrval____)-0x(____ptrval____) 2101248 execmem_alloc+0xb9/0x180 pages=512 vmalloc\n"
		rest   = "0x(____ptrval____)-0x(____ptrval____) 4743168 execmem_alloc_rw+0xa/0x50 pages=1157 vmalloc vpages\n"
		bare   = "0x(____ptrval____)-0x(____ptrval____)    8192\n"
	)
	for _, test := range []struct {
		name, text string
		want       Usage
		bad        bool
	}{
		{"a module", stack + device + module + other + bare, Usage{Modules: 1043}, false},
		{"no module", stack + device + bare, Usage{}, false},
		{"what a module has left", stack + orphan + device, Usage{Orphans: 256}, false},
		{"a module whose code is in a block for all", block + rest, Usage{Modules: 1157}, false},
		{"nothing", "", Usage{}, false},
		{"no number", "0x1-0x2 8192 move_module+0x1/0x2 pages=x vmalloc\n", Usage{}, true},
		{"another file", "VmallocUsed: 1\n", Usage{}, true},
	} {
		got, err := Parse(test.text)
		if got != test.want || (err != nil) != test.bad {
			t.Errorf("%s: %+v, error %v; want %+v, error %v", test.name, got, err, test.want, test.bad)
		}
	}
}
