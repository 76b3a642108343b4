// SPDX-License-Identifier: BSD-3-Clause

package vmalloc

import "testing"

func TestPages(t *testing.T) {
	const (
		stack  = "0x(____ptrval____)-0x(____ptrval____)   20480 dup_task_struct+0x52/0x350 pages=4 vmalloc\n"
		device = "0x(____ptrval____)-0x(____ptrval____)    8192 pcim_iomap+0x86/0xf0 phys=0x0000000010001000 ioremap\n"
		module = "0x(____ptrval____)-0x(____ptrval____) 4272128 load_module+0x658/0x1910 pages=1042 vmalloc vpages N0=1042\n"
		other  = "0x(____ptrval____)-0x(____ptrval____)    8192 execmem_vmalloc.constprop.0+0x1/0x2 pages=1 vmalloc\n"
		bare   = "0x(____ptrval____)-0x(____ptrval____)    8192\n"
	)
	for _, test := range []struct {
		name, text string
		want       int64
		bad        bool
	}{
		{"a module", stack + device + module + other + bare, 1043, false},
		{"no module", stack + device + bare, 0, false},
		{"nothing", "", 0, false},
		{"no number", "0x1-0x2 8192 move_module+0x1/0x2 pages=x vmalloc\n", 0, true},
		{"another file", "VmallocUsed: 1\n", 0, true},
	} {
		got, err := Pages(test.text)
		if got != test.want || (err != nil) != test.bad {
			t.Errorf("%s: %d, error %v; want %d, error %v", test.name, got, err, test.want, test.bad)
		}
	}
}
