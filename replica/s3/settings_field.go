package s3

// settingField is how one setting's value gets into a Config. Its errors are reasons,
// without the setting's name; they show the value unless it is secret.
type settingField struct {
	parse func(c *Config, value string) error
	isSet func(c *Config) bool
	check func(c *Config) error // of a value that is set
	take  func(c, from *Config)
}

// fieldOf is a field of any type. parse gets a value that isn't empty; check
// gets what parse returned, and what a program wrote into the Config itself.
func fieldOf[T comparable](at func(*Config) *T, parse func(string) (T, error), check func(T) error) settingField {
	return settingField{
		parse: func(c *Config, value string) error {
			v, err := parse(value)
			if err != nil {
				return err
			}
			if err := check(v); err != nil {
				return err
			}
			*at(c) = v
			return nil
		},
		isSet: func(c *Config) bool {
			var zero T
			return *at(c) != zero
		},
		check: func(c *Config) error { return check(*at(c)) },
		take:  func(c, from *Config) { *at(c) = *at(from) },
	}
}

func textField(at func(*Config) *string, check func(string) error) settingField {
	return fieldOf(at, func(s string) (string, error) { return s, nil }, check)
}

func secretField(at func(*Config) *Secret, check func(Secret) error) settingField {
	return fieldOf(at, func(s string) (Secret, error) { return Secret(s), nil }, check)
}

func boolField(at func(*Config) *bool) settingField {
	return fieldOf(at, parseBoolValue, func(bool) error { return nil })
}

func optionalField(at func(*Config) **bool) settingField {
	f := fieldOf(at, func(s string) (*bool, error) {
		v, err := parseBoolValue(s)
		if err != nil {
			return nil, err
		}
		return &v, nil
	}, func(*bool) error { return nil })
	f.take = func(c, from *Config) {
		v := **at(from) // a copy: it may be the table's of the providers
		*at(c) = &v
	}
	return f
}

func intField(at func(*Config) *int, least, most int) settingField {
	return fieldOf(at, parseIntValue, func(n int) error { return checkBounds(n, least, most) })
}
