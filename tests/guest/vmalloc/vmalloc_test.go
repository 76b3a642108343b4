// SPDX-License-Identifier: BSD-3-Clause

package vmalloc

import "testing"

func TestPages(t *testing.T) {
	const (
		stack  = "0x0000000012345678-0x0000000012345679   20480 dup_task_struct+0x52/0x350 pages=4 vmalloc\n"
		static = "0x0000000012345678-0x0000000012345679   20480 alloc_thread_stack_node.constprop.0+0x52/0x350 pages=4 vmalloc\n"
		device = "0x0000000012345678-0x0000000012345679    8192 ioremap_prot+0x1/0x2 phys=0x00000000fed00000 ioremap\n"
		module = "0x0000000012345678-0x0000000012345679 4292608 execmem_vmalloc.constprop.0+0x1/0x2 pages=1047 vmalloc N0=1047\n"
	)
	for _, test := range []struct {
		name, text string
		want       int64
		bad        bool
	}{
		{"a module", stack + device + module + static, 1047, false},
		{"two of them", module + module, 2094, false},
		{"nothing", "", 0, true},
		{"stacks alone", stack, 0, true},
		{"no number", "0x1-0x2 8192 move_module+0x1/0x2 pages=x vmalloc\n", 0, true},
		{"another file", "VmallocUsed: 1\n", 0, true},
	} {
		got, err := Pages(test.text)
		if got != test.want || (err != nil) != test.bad {
			t.Errorf("%s: %d, error %v; want %d, error %v", test.name, got, err, test.want, test.bad)
		}
	}
}
