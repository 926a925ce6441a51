// Grafana's own types of a dashboard, for what our dashboards are made of. A literal with a property that Grafana does
// not know, or with a word that it does not take, does not compile.
import type { Dashboard, FieldConfig, Panel } from '@grafana/schema/dist/types/raw/dashboard/x/types.gen';
import type { Options as Stat } from '@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type { FieldConfig as Lines, Options as TimeSeries } from '@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';

// A document has the words of an enumeration, not its names. Only the ends of types are looked through: some refer to themselves.
type Plain<T> = T extends string ? `${T}` : T extends number | boolean | null | undefined ? T : T extends (infer U)[] ? Plain<U>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;

interface Target { refId: string; datasource: { type: 'prometheus'; uid: string }; editorMode: 'code'; expr: string; legendFormat: string; range: true }
interface Configured<Custom> { defaults: Omit<Plain<FieldConfig>, 'custom'> & { custom?: Plain<Custom> }; overrides: [] }
type Drawn<Type, Options, Custom> = Omit<Plain<Panel>, 'type' | 'options' | 'fieldConfig' | 'targets'> & { type: Type; options: Plain<Options>; fieldConfig: Configured<Custom>; targets: Target[] };

export type OurDashboard = Omit<Plain<Dashboard>, 'panels'> & { panels: (Drawn<'timeseries', Partial<TimeSeries>, Partial<Lines>> | Drawn<'stat', Partial<Stat>, never>)[] };
