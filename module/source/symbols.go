// SPDX-License-Identifier: BSD-3-Clause

package source

// Symbols returns what a kernel of this version must export for the module's C.
// Of each group one is enough: they are names from different versions. The
// compiler may add functions of its own.
func Symbols(major, minor int, sysfs bool) [][]string {
	// simple_read_from_buffer() is not used since 5.10, see kheaders_main.c.
	read := "_copy_to_iter"
	if major < 5 || major == 5 && minor < 10 {
		read = "simple_read_from_buffer"
	}
	groups := [][]string{
		{read},
		{"_printk", "printk"},
		{"default_llseek"},
		{"init_uts_ns"},
		{"proc_create", "proc_create_data"},
		{"proc_set_size"},
		{"remove_proc_entry"},
	}
	if sysfs {
		groups = append(groups, [][]string{
			{"kernel_kobj"},
			{"kernfs_find_and_get_ns"},
			{"kernfs_put"},
			{"memory_read_from_buffer"},
			{"param_ops_bool"},
			{"sysfs_create_bin_file"},
			{"sysfs_remove_bin_file"},
		}...)
	}
	return groups
}
