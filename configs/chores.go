package configs

import "slices"

// HasChores tells whether a route holds the block of a module with chores: whether a housekeeper is needed.
func (c *Config) HasChores() bool {
	return slices.ContainsFunc(c.Sites, func(s Site) bool {
		return slices.ContainsFunc(s.Routes, func(r Route) bool { return r.Block != nil && r.Block.spec.Chores })
	})
}
